//! An error of a connection as one text, with what caused it. It never knows what the connection was for.

use std::error::Error;

/// What failed, the error, and its causes that the text does not have yet.
pub fn with_causes(what: &str, error: &dyn Error) -> String {
    let mut text = format!("{what}: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
