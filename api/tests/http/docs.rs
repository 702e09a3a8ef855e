//! The page that shows the OpenAPI document.

use crate::harness::{Client, Server};

const FILES: [(&str, &str); 4] = [
    ("/docs", "text/html; charset=utf-8"),
    ("/docs/docs.css", "text/css; charset=utf-8"),
    ("/docs/docs.js", "text/javascript; charset=utf-8"),
    ("/openapi.json", "application/json"),
];

#[tokio::test]
async fn the_page_is_served_without_a_key_and_is_not_sent_to_who_has_it() {
    let server = Server::start().await;
    let nobody = server.nobody();
    for (path, content_type) in FILES {
        let whole = nobody.get(path).await;
        whole.expect(200);
        assert_eq!(whole.header("content-type"), content_type);
        assert_eq!(whole.header("cache-control"), "no-cache");
        assert_eq!(whole.header("x-content-type-options"), "nosniff");
        let length = whole.text.len().to_string();
        assert_eq!(whole.header("content-length"), length, "{path}");
        let head = Client::send(nobody.request("HEAD", path)).await;
        assert_eq!((head.status, head.text.as_str()), (200, ""), "{path}");
        assert_eq!(head.header("content-length"), length, "{path}");
        let tag = whole.header("etag");
        assert_eq!(head.header("etag"), tag);
        let again = nobody.request("GET", path).header("if-none-match", tag);
        let again = Client::send(again).await;
        assert_eq!((again.status, again.text.as_str()), (304, ""), "{path}");
        assert_eq!(again.header("etag"), tag);
        nobody.delete(path).await.problem(405, "method-not-allowed");
    }
}

#[tokio::test]
async fn the_page_reaches_nobody_but_its_own_server() {
    let server = Server::start().await;
    let nobody = server.nobody();
    let page = nobody.get("/docs").await;
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    let mut bytes = 0;
    for (path, _) in &FILES[..3] {
        let text = nobody.get(path).await.text;
        for elsewhere in ["http://", "https://", "src=\"//", "href=\"//", "import("] {
            assert!(!text.contains(elsewhere), "{path}: {elsewhere}");
        }
        bytes += text.len();
    }
    let style = nobody.get("/docs/docs.css").await.text;
    assert!(!style.contains("url(") && !style.contains("@import"));
    assert!(bytes < 25 * 1024, "the page has {bytes} bytes");
    // What the policy forbids would not work.
    assert!(!page.text.contains("style=") && !page.text.contains("onload="), "{}", page.text);
    for (name, close) in [("<script", "</script>"), ("<style", "</style>")] {
        for (_, rest) in
            page.text.match_indices(name).map(|(at, _)| page.text[at..].split_at(name.len()))
        {
            let (_, inside) = rest.split_once('>').unwrap();
            assert!(inside.starts_with(close), "{name} inline");
        }
    }
}
