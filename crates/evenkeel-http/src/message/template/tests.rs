//! Every placeholder in every use, with values that clients choose to do harm.

use std::net::IpAddr;
use std::sync::Arc;

use evenkeel_core::route::{RequestParts, TextRegex};

use super::{
    Arrival, Escape, Facts, LocationError, Map, Phase, Placeholder, RequestFacts, ResponseFacts, Scope,
    Template, TemplateError, check_location,
};
use crate::message::{RequestHead, RequestId, Version};

/// A head in which everything is as a test wants it, also what no parser lets through.
#[derive(Debug)]
struct Head {
    text: String,
    bytes: Vec<u8>,
}

impl RequestParts for Head {
    fn method(&self) -> &str {
        &self.text
    }
    fn host(&self) -> &str {
        &self.text
    }
    fn path(&self) -> &str {
        &self.text
    }
    fn query(&self) -> Option<&str> {
        Some(&self.text)
    }
    fn header(&self, _: &str) -> Option<&[u8]> {
        Some(&self.bytes)
    }
}

impl RequestHead for Head {
    fn each(&self, _: &str, visit: &mut dyn FnMut(&[u8])) {
        visit(&self.bytes);
        visit(&self.bytes);
    }
    fn target(&self) -> &str {
        &self.text
    }
    fn authority(&self) -> &str {
        &self.text
    }
    fn version(&self) -> Version {
        Version::Http11
    }
}

fn regex_scope(regex: &TextRegex) -> Scope<'_> {
    Scope { path_regex: Some(regex), maps: &[] }
}

fn facts<'a>(head: &'a Head, id: &'a RequestId, regex: &'a TextRegex) -> RequestFacts<'a> {
    RequestFacts {
        head,
        path: &head.text,
        client: Some(IpAddr::from([192, 0, 2, 7])),
        route: "all",
        path_regex: Some(regex),
        arrival: Arrival {
            listener: &head.text,
            https: true,
            client_port: Some(4711),
            tls_version: Some("TLSv1.3"),
            server_name: Some(&head.text),
            request_id: Some(id),
        },
    }
}

const USES: [Escape; 7] = [
    Escape::Header,
    Escape::Cookie,
    Escape::Location,
    Escape::Path,
    Escape::Text,
    Escape::Json,
    Escape::Html,
];

fn all_names() -> Vec<String> {
    let own = Placeholder::NAMES.iter().map(|name| (*name).to_owned());
    own.chain(["header.x", "cookie.q", "query.q", "path.1"].map(str::to_owned)).collect()
}

/// Whether the value of this placeholder stays within its use.
fn is_harmless(escape: Escape, name: &str, value: &[u8]) -> bool {
    match escape {
        Escape::Header => !value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t'),
        Escape::Cookie => {
            value.iter().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b';' | b',' | b'"'))
        }
        Escape::Location | Escape::Path => {
            let is_url =
                escape == Escape::Location && matches!(name, "host" | "authority" | "query" | "scheme");
            value.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'\\')
                && (is_url || !value.iter().any(|byte| matches!(byte, b'?' | b'#')))
                && (is_url
                    || matches!(name, "path" | "path.1")
                    || !value.iter().any(|byte| matches!(byte, b'/' | b'@' | b':')))
        }
        Escape::Json => {
            let quoted = [b"\"", value, b"\""].concat();
            serde_json::from_slice::<String>(&quoted).is_ok()
        }
        Escape::Html => !value.iter().any(|byte| matches!(byte, b'<' | b'>' | b'"' | b'\'')),
        Escape::Text => true,
    }
}

#[test]
fn no_value_can_break_out_of_its_use() {
    let regex = TextRegex::new("(?s)(.*)").unwrap();
    let hostile: [&[u8]; 12] = [
        b"\r\nX-Evil: 1\r\n\r\nbody",
        b"q=%0d%0aX-Evil:%201%00",
        b"\n",
        b"\0",
        b"//evil.example/\\evil.example",
        b"/a?b#c",
        b"@evil.example:80",
        b"<script>\"'&</script>",
        b"\xff\xfe\x80q=1",
        b"q=\xe2\x80\xa8\xc3\xa4",
        b"\x7f\x1b[31m",
        b"",
    ];
    let long = vec![b'\r'; 64 << 10];
    for bytes in hostile.into_iter().chain([&*long]) {
        let head = Head { text: String::from_utf8_lossy(bytes).into_owned(), bytes: bytes.to_vec() };
        let id = RequestId::Given(head.text.as_str().into());
        let request = facts(&head, &id, &regex);
        let response = ResponseFacts { status: 502, upstream: Some(&head.text), backend: Some(&head.text) };
        let facts = Facts { request: Some(&request), response: Some(response) };
        for escape in USES {
            for name in all_names() {
                let template =
                    Template::parse(&format!("a{{{name}}}b"), escape, Phase::Response, regex_scope(&regex))
                        .unwrap();
                let mut out = Vec::new();
                template.render(facts, &mut out);
                let value = &out[1..out.len() - 1];
                let harmless = is_harmless(escape, &name, value);
                assert!(
                    harmless,
                    "{name} in {escape:?}: {bytes:?} became {:?}",
                    out.escape_ascii().to_string()
                );
                assert!(value.len() <= 3 * 3 * (bytes.len() + 64), "{name} in {escape:?} grew");
                if escape == Escape::Header {
                    assert!(
                        template.header_value(facts).is_some(),
                        "{name} of {bytes:?} is a header's value"
                    );
                }
                // What a filter keeps until the response gives the same.
                let mut later = Vec::new();
                template
                    .with_request(&request)
                    .render(Facts { request: None, response: Some(response) }, &mut later);
                assert_eq!(out, later, "{name} in {escape:?}");
            }
        }
    }
}

#[test]
fn values_are_those_of_the_request() {
    let regex = TextRegex::new("^/u/(?P<id>[0-9]+)(/x)?").unwrap();
    let head = Head { text: "/u/17?q=a%20b&x".to_owned(), bytes: b"q=1; r=two".to_vec() };
    let id = RequestId::Random(0xff);
    let mut request = facts(&head, &id, &regex);
    let response = ResponseFacts { status: 404, upstream: Some("web"), backend: Some("http://b:1") };
    for (text, expected) in [
        ("{client_ip}:{client_port}", "192.0.2.7:4711"),
        ("{scheme} {tls.version} {route}", "https TLSv1.3 all"),
        ("{request_id}", "000000000000000000000000000000ff"),
        ("{path.1}{path.id}{path.2:-none}", "1717none"),
        ("{cookie.r} {cookie.none:-no cookie}", "two no cookie"),
        ("{header.x}", "q=1; r=two, q=1; r=two"),
        ("{query.x}{query.none}", ""),
        ("{status} {upstream} {backend}", "404 web http://b:1"),
        ("{\"a\": {\"b\": 1}} {{host}} { x } {}", "{\"a\": {\"b\": 1}} {host} { x } {}"),
        ("${host} {PORT} `${a.b}`", "${host} {PORT} `${a.b}`"),
        ("", ""),
    ] {
        let template = Template::parse(text, Escape::Text, Phase::Response, regex_scope(&regex)).unwrap();
        let facts = Facts { request: Some(&request), response: Some(response) };
        assert_eq!(template.render_text(facts), expected, "{text}");
    }
    request.client = None;
    let template = Template::parse("{client_ip}", Escape::Header, Phase::Request, Scope::default()).unwrap();
    assert_eq!(template.header_value(Facts { request: Some(&request), response: None }), None);
    assert_eq!(template.header_value(Facts::default()), None);
}

#[test]
fn what_is_no_template_is_rejected() {
    let parse = |text: &str, escape, phase| Template::parse(text, escape, phase, Scope::default());
    for (text, error) in [
        ("{hots}", TemplateError::Unknown("hots".to_owned())),
        ("{env.HOME}", TemplateError::Unknown("env.HOME".to_owned())),
        ("{path.1}", TemplateError::NoPathRegex("path.1".to_owned())),
        ("{backend}", TemplateError::TooEarly("backend".to_owned())),
    ] {
        for escape in USES {
            assert_eq!(parse(text, escape, Phase::Request), Err(error.clone()), "{text}");
        }
    }
    assert!(matches!(
        parse("{header.a b}", Escape::Location, Phase::Request),
        Err(TemplateError::Malformed { .. })
    ));
    assert_eq!(parse("/{host", Escape::Location, Phase::Request), Err(TemplateError::Unclosed));
    assert_eq!(parse("/host}", Escape::Location, Phase::Request), Err(TemplateError::Unopened));
    let literal = parse("/{{a}}", Escape::Location, Phase::Request).unwrap();
    assert_eq!(literal.constant(), Some(&b"/{a}"[..]));
    assert_eq!(parse("{host", Escape::Text, Phase::Request).unwrap().constant(), Some(&b"{host"[..]));
}

#[test]
fn no_request_chooses_the_host_of_a_location() {
    let regex = TextRegex::new("^(.*)$").unwrap();
    let parse =
        |text: &str| Template::parse(text, Escape::Location, Phase::Request, regex_scope(&regex)).unwrap();
    for text in [
        "https://{host}{path}{query}",
        "https://{host}:8443/{header.x}",
        "{scheme}://www.{host}{path}",
        "//{authority}/{path.1}",
        "https://a.example?to={query.to}",
        "https://a.example/{path.1}",
        "{path}{path.1}",
        "{query}/{header.x}",
        "/{header.x}{path.1}",
        "?a={cookie.a}",
        "https://a.example",
    ] {
        assert_eq!(check_location(&parse(text)), Ok(()), "{text}");
    }
    for (text, error) in [
        ("https://{header.x}/", LocationError::Host),
        ("https://a.example{path.1}", LocationError::Host),
        ("https://{host}{query}{header.x}", LocationError::Host),
        ("https://a.{query.host}.example/", LocationError::Host),
        ("//{header.x}", LocationError::Host),
        ("{scheme}://{cookie.a}", LocationError::Host),
        ("{header.x}/a", LocationError::Beginning),
        ("{host}{path}", LocationError::Beginning),
        ("{query}{header.x}", LocationError::Beginning),
        ("{scheme}{host}", LocationError::Beginning),
        ("{scheme}", LocationError::Beginning),
        ("java script://x", LocationError::Beginning),
        ("", LocationError::Beginning),
    ] {
        assert_eq!(check_location(&parse(text)), Err(error), "{text}");
    }
    // What begins with a path stays on this host.
    let head = Head { text: "//evil.example/\\x".to_owned(), bytes: b"//evil.example".to_vec() };
    let id = RequestId::Random(1);
    let request = facts(&head, &id, &regex);
    for (text, expected) in [
        ("{path}", "/evil.example/%5Cx"),
        ("/{path.1}", "/evil.example/%5Cx"),
        ("/{header.x}", "/%2F%2Fevil.example%2C%20%2F%2Fevil.example"),
        ("https://a.example/{path.1}", "https://a.example///evil.example/%5Cx"),
    ] {
        let value = parse(text).location(Facts { request: Some(&request), response: None }).unwrap();
        assert_eq!(value, expected, "{text}");
    }
}

#[test]
fn a_map_gives_a_value_for_a_value() {
    let regex = TextRegex::new("").unwrap();
    let head = Head { text: "/Old".to_owned(), bytes: b"x".to_vec() };
    let id = RequestId::Random(1);
    let request = facts(&head, &id, &regex);
    let map = |name: &str, key: &str, ignore_case| {
        let key = Template::parse(key, Escape::Text, Phase::Request, Scope::default()).unwrap();
        let values = [("/Old", "https://new.example/a"), ("/old", "lower")];
        let values = values.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Arc::new(Map::new(name, key, values, "/default?a", ignore_case))
    };
    let maps =
        [map("exact", "{path}", false), map("folded", "{path}", true), map("other", "{method}!", false)];
    let scope = Scope { path_regex: None, maps: &maps };
    for (text, expected) in [
        ("{map.exact}", "https://new.example/a"),
        ("{map.folded}/x", "lower/x"),
        ("{map.other}", "/default?a"),
    ] {
        let template = Template::parse(text, Escape::Location, Phase::Request, scope).unwrap();
        assert_eq!(check_location(&template), Ok(()), "{text}");
        let value = template.location(Facts { request: Some(&request), response: None }).unwrap();
        assert_eq!(value, expected, "{text}");
    }
    let template = Template::parse("{map.exact}{header.x}", Escape::Location, Phase::Request, scope).unwrap();
    assert_eq!(check_location(&template), Err(LocationError::Host));
    let unknown = Template::parse("{map.none}", Escape::Text, Phase::Request, scope);
    assert!(matches!(unknown, Err(TemplateError::Malformed { .. })));
}
