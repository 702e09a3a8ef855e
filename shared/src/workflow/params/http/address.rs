//! Which URLs can be called: checked where a workflow is saved as far as they are written there, and by the worker once
//! they are rendered.

use url::Url;

/// Reads the address of a request. Blanks around it are left out.
///
/// # Errors
/// What is wrong with it; its text, which may hold secrets, is not shown.
pub fn parse(text: &str) -> Result<Url, String> {
    let text = text.trim();
    // They would be left out silently, and two lines become one address that nobody has written.
    if text.contains(char::is_control) {
        return Err("`url` has a line break or another control character".to_owned());
    }
    let url = Url::parse(text).map_err(|error| format!("`url` is no absolute address: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err("`url` must start with http:// or https:// and a host".to_owned());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_cannot_be_called_are_recognised() {
        for text in ["https://example.com", "http://[fe80::1]:8080/a b?c", " http://h/\n"] {
            assert!(parse(text).is_ok(), "{text:?}");
        }
        for (text, says) in [
            ("http://127.0.0.1:99999/", "port"),
            ("http://[fe80::1%25eth0]/", "IPv6"),
            ("http://h/a\r\nb", "line break"),
            ("http://h/a\0b", "control character"),
            ("http://", "host"),
            ("/path", "absolute"),
            ("ftp://h/", "http://"),
        ] {
            let message = parse(text).unwrap_err();
            assert!(message.contains(says), "{text:?}: {message}");
        }
    }
}
