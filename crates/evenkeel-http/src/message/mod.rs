//! The head of a request or response, what is changed in it, and the responses that the balancer generates itself.
//!
//! This room never knows the bytes of a message nor a socket, and never decides. It has the one map from a cause to a
//! status.

mod answer;
mod claims;
mod compression;
mod cookie;
mod edits;
mod facts;
mod field;
mod head;
mod interim;
mod malformed;
mod refusal;
mod rejection;
mod request_id;
mod template;
mod version;

pub use answer::{Answer, AnswerFormat};
pub(crate) use claims::{has_underscore, is_guarded, is_spoof, same};
pub use claims::{is_claim, is_forbidden_in_trailers};
pub use compression::{Coding, Compression};
pub use cookie::cookie;
pub use edits::{EditError, Edits, HeaderEdit, Replacement};
pub use facts::HeadFacts;
pub use field::{can_be_nominated, is_for_one_hop, is_of_the_connection};
pub use head::is_authority;
pub use head::{RequestHead, ResponseHead};
pub(crate) use head::{host_of, origin_form, path_of, query_of};
pub use interim::Interim;
pub use malformed::Malformed;
pub use refusal::{Overload, Refusal, Waited};
pub use rejection::{Rejection, RejectionCause};
pub use request_id::RequestId;
pub use template::{
    Arrival, Escape, Facts, LocationError, Map, Phase, Placeholder, RequestFacts, ResponseFacts, Scope,
    Template, TemplateError, check_location,
};
pub use version::Version;
