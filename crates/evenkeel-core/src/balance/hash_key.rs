//! What makes requests belong together.

/// What a hashing algorithm looks at: requests of one key go to one backend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HashKey {
    /// The client's address: the one that logs and forwarded fields carry. An IPv6 client is its /64. The default.
    #[default]
    ClientIp,
    /// The value of this header field, its name in lower case; the client's address without one.
    Header(Box<str>),
    /// The value of this cookie; the client's address without one.
    Cookie(Box<str>),
    /// The value of this query parameter, decoded; the client's address without one.
    Query(Box<str>),
    /// The path, without the query.
    Path,
}
