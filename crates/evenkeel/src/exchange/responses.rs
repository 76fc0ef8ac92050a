//! The responses that the balancer makes itself, and what every response gets before it leaves. It never knows why a request
//! was rejected.

use evenkeel_http::message::{Answer, Edits, Refusal, ResponseHead, is_of_the_connection};
use http::{HeaderValue, header};

use super::forwarding;
use super::record::Ending;
use super::request::{Decision, Exchange};
use crate::filter::Sender;

// === impl Exchange ===

impl Exchange {
    /// A refusal as a response, in the format that the client accepts; records it.
    pub fn refusal_answer(&mut self, refusal: &Refusal) -> Answer {
        self.note(refusal);
        // What is replaced is of a backend, and was replaced already.
        let sender = match refusal {
            Refusal::Page(_) => Sender::Balancer,
            refusal => Sender::Refusal(refusal),
        };
        self.edited(refusal.answer(self.facts().format), sender)
    }

    /// Records that the balancer gave up in the middle of a response.
    pub fn note_refusal(&mut self, refusal: &Refusal) {
        if matches!(refusal, Refusal::Page(_)) {
            self.record.ending = Some(Ending::Ok);
            return;
        }
        self.environment.metrics.refused(self.environment.worker, refusal.reason());
        // A panic is what the log is to show, not the refusal that follows from it.
        if self.record.ending != Some(Ending::Panic) {
            self.record.ending = Some(Ending::Refused(refusal.end()));
        }
        self.note_cause(refusal);
    }

    pub(super) fn refuse(&mut self, refusal: &Refusal) -> Decision {
        Decision::Answer(self.refusal_answer(refusal))
    }

    fn note(&mut self, refusal: &Refusal) {
        self.note_refusal(refusal);
        self.record.status = refusal.status();
    }

    pub(super) fn answered(&mut self, answer: Answer) -> Answer {
        self.record.status = answer.status;
        self.record.ending = Some(Ending::Ok);
        self.edited(answer, Sender::Balancer)
    }

    fn edited(&mut self, mut answer: Answer, sender: Sender<'_>) -> Answer {
        // A filter of a user's own may have set any header.
        let upgrade = answer.status == 426;
        answer
            .headers
            .retain(|(name, _)| !is_of_the_connection(name.as_str()) || upgrade && *name == header::UPGRADE);
        // Without their edits, if a filter panics: the client then gets what there is.
        let mut edits = self.response_edits(&answer, sender).unwrap_or_default();
        if let Some(replacement) = edits.take_replacement().filter(|_| answer.status >= 400) {
            answer.replace(*replacement);
        }
        self.log_response(&answer, &edits);
        for edit in edits.into_headers() {
            edit.apply_to(&mut answer.headers);
        }
        answer
    }

    /// What every response gets before it leaves: the edits of filters, and the headers of the listener.
    pub(super) fn response_edits(
        &mut self,
        head: &dyn ResponseHead,
        sender: Sender<'_>,
    ) -> Result<Edits, Refusal> {
        let mut edits = self.run_response_filters(head, sender)?;
        if let Some(pseudonym) = &self.table.forwarding.via
            && let Some(via) = forwarding::via(head.header("via"), pseudonym)
        {
            edits.danger_set(header::VIA, via);
        }
        let connection = self.connection();
        if connection.is_tls()
            && let Some(hsts) = connection.limits.hsts
            && head.header("strict-transport-security").is_none()
            && let Ok(value) = HeaderValue::from_str(&format!("max-age={}", hsts.as_secs()))
        {
            edits.danger_set(header::STRICT_TRANSPORT_SECURITY, value);
        }
        Ok(edits)
    }
}
