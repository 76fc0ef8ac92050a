//! `error_pages`: pages of one's own in place of the bodies of errors.
//!
//! It never changes a status, and never knows why a request failed beyond what metrics say.

mod page;
mod params;

pub use params::{ErrorPageParams, ErrorPagesParams};

use std::ops::RangeInclusive;

use evenkeel_http::message::{AnswerFormat, Refusal};
use http::HeaderValue;

use super::registry::{FilterError, FilterKind};
use super::watched::Watched;
use super::{BuildContext, Filter, Response};
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

// === impl ErrorPagesFilter ===

impl Filter for ErrorPagesFilter {
    fn on_response(&self, response: &mut Response<'_>) {
        let status = response.head.status();
        let refusal = response.refusal();
        if status < 400 || refusal.is_none() && !(self.backends && response.is_of_backend()) {
            return;
        }
        let cause = refusal.map(Refusal::reason);
        let message = refusal.map(Refusal::message).unwrap_or_default();
        let mut pages = self.pages.iter().filter(|page| page.is_for(status, cause));
        let found = match response.format {
            AnswerFormat::Grpc => None,
            // No preference.
            AnswerFormat::Text => pages.next(),
            format => pages.find(|page| page.format == format),
        };
        if let Some(found) = found {
            let error = Error { status, cause: cause.unwrap_or_default(), message };
            let body = found.page.load().render(error, found.format);
            response.edits.replace_body(found.content_type.clone(), body);
        }
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
        let page = match (params.body, params.file) {
            (Some(body), None) => Watched::fixed(Page::parse(&body)),
            (None, Some(file)) => Watched::file(file, "pages", context, Page::read)
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
