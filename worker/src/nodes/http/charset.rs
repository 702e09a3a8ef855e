//! In which characters an answer is written.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8};
use reqwest::header::{self, HeaderMap};

/// Bytes of an XML document in which its declaration is looked for. It has three short attributes.
const XML_DECLARATION_BYTES_MAX: usize = 256;

/// The type of an answer, as its head says.
pub(super) struct MediaType {
    /// Type and subtype, in lower case.
    essence: String,
    charset: Option<&'static Encoding>,
}

impl MediaType {
    /// What the head says; nothing, if it says nothing.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let value = headers.get(header::CONTENT_TYPE).map(header::HeaderValue::as_bytes);
        let value = String::from_utf8_lossy(value.unwrap_or_default());
        let mut parts = outside_of_quotes(&value);
        let essence = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
        let charset = parts.find_map(|part| {
            let (name, label) = part.split_once('=')?;
            let label = label.trim().trim_matches(['"', '\'']);
            name.trim()
                .eq_ignore_ascii_case("charset")
                .then(|| Encoding::for_label(label.as_bytes()))
        });
        Self { essence, charset: charset.flatten() }
    }

    pub(super) fn is_json(&self) -> bool {
        matches!(self.essence.as_str(), "application/json" | "text/json")
            || self.essence.ends_with("+json")
    }

    fn is_xml(&self) -> bool {
        matches!(self.essence.as_str(), "application/xml" | "text/xml")
            || self.essence.ends_with("+xml")
    }

    /// Whether it is no text, whatever charset it names.
    fn is_binary(&self) -> bool {
        let kind = self.essence.split('/').next().unwrap_or_default();
        (matches!(kind, "audio" | "font" | "image" | "video") && !self.is_xml())
            || self.essence == "application/octet-stream"
    }

    /// The body as text, every character of it; `None` when it is none. A byte order mark says more than the head, the
    /// head more than the document, and what none of them says is UTF-8.
    pub(super) fn text_of<'b>(&self, body: &'b [u8]) -> Option<Cow<'b, str>> {
        let plain = || std::str::from_utf8(body).ok().map(Cow::Borrowed);
        if self.is_binary() {
            return plain();
        }
        let declared = || self.is_xml().then(|| declared_in(body)).flatten();
        let is_text = self.charset.is_some() || self.is_json() || self.is_xml();
        let (encoding, mark) = match Encoding::for_bom(body) {
            // Without a word that it is text, two bytes of a picture may look like a mark.
            Some((encoding, mark))
                if encoding == UTF_8 || is_text || self.essence.starts_with("text/") =>
            {
                (encoding, mark)
            }
            _ => (self.charset.or_else(declared).unwrap_or(UTF_8), 0),
        };
        encoding.decode_without_bom_handling_and_without_replacement(&body[mark..])
    }
}

/// The parts between semicolons; one in quotes parts nothing.
fn outside_of_quotes(text: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    text.split(move |c| {
        is_quoted ^= c == '"';
        c == ';' && !is_quoted
    })
}

/// What an XML document says of itself: `<?xml version="1.0" encoding="ISO-8859-1"?>`.
fn declared_in(body: &[u8]) -> Option<&'static Encoding> {
    let head = &body[..body.len().min(XML_DECLARATION_BYTES_MAX)];
    let head = String::from_utf8_lossy(head);
    let declaration = head.strip_prefix("<?xml")?.split("?>").next()?;
    let (_, value) = declaration.split_once("encoding")?;
    let value = value.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    Encoding::for_label(value[1..].split(quote).next()?.as_bytes())
}

/// The value of a header. It is ASCII, or UTF-8, or what HTTP once said that it is: ISO-8859-1.
pub(super) fn header_text(value: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(value)
        .map_or_else(|_| value.iter().map(|byte| char::from(*byte)).collect(), Cow::Borrowed)
}
