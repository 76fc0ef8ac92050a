//! `error_pages`: pages of one's own in place of the bodies of errors.
//!
//! It never changes a status, and never knows why a request failed beyond what metrics say.

mod page;
mod params;

pub use params::{ErrorPageParams, ErrorPagesParams};

use std::ops::RangeInclusive;
use std::sync::Arc;

use evenkeel_http::message::{AnswerFormat, Escape, Refusal};
use http::HeaderValue;

use super::registry::{FilterError, FilterKind};
use super::watched::Watched;
use super::{BuildContext, Filter, Request, Response, Verdict};
use page::{Error, Page};

/// Replaces the bodies of errors.
#[derive(Debug)]
pub struct ErrorPagesFilter {
    pages: Vec<ErrorPage>,
    backends: bool,
}

#[derive(Debug)]
struct ErrorPage {
    statuses: Vec<RangeInclusive<u16>>,
    causes: Vec<String>,
    content_type: HeaderValue,
    format: AnswerFormat,
    page: Watched<Page>,
}

/// The pages that have values of the request in them, as they were then, with these values.
#[derive(Debug)]
struct Kept(Vec<(usize, Arc<Page>, Vec<String>)>);

// === impl ErrorPagesFilter ===

impl ErrorPagesFilter {
    /// Keeps the values of the request that pages need. Without such a page, that is nothing.
    fn keep(&self, request: &mut Request<'_>) {
        let pages = self.pages.iter().enumerate().filter(|(_, page)| page.page.load().needs_request());
        let kept = pages.map(|(at, page)| {
            let page = page.page.load_full();
            let values = page.keep(request);
            (at, page, values)
        });
        let kept: Vec<_> = kept.collect();
        if !kept.is_empty() {
            request.state.set(Kept(kept));
        }
    }
}

impl Filter for ErrorPagesFilter {
    fn on_request(&self, request: &mut Request<'_>) -> Verdict {
        self.keep(request);
        Verdict::Continue
    }

    fn on_skipped(&self, request: &mut Request<'_>) {
        self.keep(request);
    }

    fn on_response(&self, response: &mut Response<'_>) {
        let status = response.head.status();
        let refusal = response.refusal();
        if status < 400 || refusal.is_none() && !(self.backends && response.is_of_backend()) {
            return;
        }
        let cause = refusal.map(Refusal::reason);
        let message = refusal.map(Refusal::message).unwrap_or_default();
        let mut pages = self.pages.iter().enumerate().filter(|(_, page)| page.is_for(status, cause));
        let found = match response.format {
            AnswerFormat::Grpc => None,
            // No preference.
            AnswerFormat::Text => pages.next(),
            format => pages.find(|(_, page)| page.format == format),
        };
        let Some((at, found)) = found else { return };
        let error = Error { cause: cause.unwrap_or_default(), message };
        let kept =
            response.state.get::<Kept>().and_then(|Kept(kept)| kept.iter().find(|(known, ..)| *known == at));
        let body = match kept {
            Some((_, page, values)) => page.render(error, values, response),
            None => found.page.load().render(error, &[], response),
        };
        response.edits.replace_body(found.content_type.clone(), body);
    }
}

impl FilterKind for ErrorPagesFilter {
    const NAME: &'static str = "error_pages";
    const EXAMPLE: &'static str =
        "error_pages: { pages: [{ status: [502, 503, 504], file: /etc/evenkeel/down.html }] }";
    const DOC: &'static str = "Replaces the bodies of errors with pages. Without a page for an error, or for what the client accepts, the response \
                               stays as it is. Responses of gRPC stay too. Place it first: then it sees what other filters reject.";
    type Params = ErrorPagesParams;

    fn new(params: ErrorPagesParams, context: &BuildContext<'_>) -> Result<Self, FilterError> {
        let pages = params.pages.into_iter().enumerate();
        let pages = pages.map(|(at, page)| ErrorPage::new(page, &format!("pages[{at}]"), context));
        Ok(Self { pages: pages.collect::<Result<_, _>>()?, backends: params.backends })
    }
}

// === impl ErrorPage ===

impl ErrorPage {
    fn new(params: ErrorPageParams, key: &str, context: &BuildContext<'_>) -> Result<Self, FilterError> {
        let statuses = params.status.iter().enumerate().map(|(at, text)| {
            let expected = "a status from 400 to 599, or 4xx or 5xx";
            statuses(text).ok_or_else(|| FilterError::new(format!("{key}.status[{at}]"), expected))
        });
        let statuses = statuses.collect::<Result<_, _>>()?;
        if let Some(at) = params.causes.iter().position(|cause| !Refusal::REASONS.contains(&cause.as_str())) {
            let expected = format!("one of {}", Refusal::REASONS.join(", "));
            return Err(FilterError::new(format!("{key}.causes[{at}]"), expected));
        }
        let content_type = HeaderValue::from_str(&params.content_type).ok().filter(|value| !value.is_empty());
        let content_type = content_type.ok_or_else(|| {
            FilterError::new(format!("{key}.content_type"), "a content type, like text/html; charset=utf-8")
        })?;
        let escape = Escape::of_media_type(&params.content_type);
        let page = match (params.body, params.file) {
            (Some(body), None) => Page::parse(&body, escape).map(Watched::fixed).map_err(|problem| {
                FilterError::new(format!("{key}.body"), format!("a page with placeholders, but it {problem}"))
            })?,
            (None, Some(file)) => Watched::file(file, "pages", context, move |path| Page::read(path, escape))
                .map_err(|problem| FilterError::new(format!("{key}.file"), format!("a page: {problem}")))?,
            _ => return Err(FilterError::new(key, "a body or a file")),
        };
        let format = AnswerFormat::of(Some(content_type.as_bytes()), None);
        Ok(Self { statuses, causes: params.causes, content_type, format, page })
    }

    fn is_for(&self, status: u16, cause: Option<&str>) -> bool {
        let has_status =
            self.statuses.is_empty() || self.statuses.iter().any(|range| range.contains(&status));
        let has_cause = || cause.is_some_and(|cause| self.causes.iter().any(|known| known == cause));
        has_status && (self.causes.is_empty() || has_cause())
    }
}

fn statuses(text: &str) -> Option<RangeInclusive<u16>> {
    match text {
        "4xx" => Some(400..=499),
        "5xx" => Some(500..=599),
        text => text
            .parse::<u16>()
            .ok()
            .filter(|status| (400..600).contains(status))
            .map(|status| status..=status),
    }
}
