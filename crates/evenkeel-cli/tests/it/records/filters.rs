//! A user's filter, which responds, rejects and panics as the configuration says.

use evenkeel::prelude::{
    Answer, BuildContext, Filter, FilterError, FilterKind, Registry, Rejection, Request, Response, Verdict,
};

/// The filters of the balancer, and `judge`.
pub(super) fn registry() -> Registry {
    Registry::builtin().with::<Judge>()
}

#[derive(Debug)]
struct Judge(String);

impl FilterKind for Judge {
    const NAME: &'static str = "judge";
    const DOC: &'static str = "Responds, rejects or panics: a verdict.";
    const EXAMPLE: &'static str = "judge: refuse";
    type Params = String;

    fn new(verdict: String, _: &BuildContext<'_>) -> Result<Self, FilterError> {
        Ok(Self(verdict))
    }
}

impl Filter for Judge {
    fn on_request(&self, _: &mut Request<'_>) -> Verdict {
        match self.0.as_str() {
            "refuse" => Verdict::Refuse(Rejection::status(403, "no").into()),
            "respond" => Verdict::Answer(Answer::new(203).body("from the filter")),
            "panic" => panic!("a filter that panics when it sees a request, as a test wants it"),
            _ => Verdict::Continue,
        }
    }

    fn on_response(&self, _: &mut Response<'_>) {
        assert!(self.0 != "panic_late", "a filter that panics on a response, as a test needs it");
    }
}
