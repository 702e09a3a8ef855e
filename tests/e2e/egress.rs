//! Where nodes may send requests to.

use serde_json::json;
use skein_tests::stack::{Form, Setup, with_stack};

/// Every other stack allows the outside world of the tests, which is at a loopback address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_allowed_nothing_refuses_a_loopback_address() {
    for form in [Form::Distributed, Form::Embedded] {
        let setup = Setup::new(form, "nothing_allowed").workers(1).env("SKEIN_HTTP_ALLOW", "");
        with_stack(setup, async |stack| {
            let named = stack.outside.url("/named").replace("127.0.0.1", "localhost");
            for url in [stack.outside.url("/literal"), named] {
                let document = json!({
                    "name": "ask",
                    "nodes": [{ "id": "ask", "type": "http", "params": { "url": url } }],
                });
                stack.client.publish(&document).await;
                let run = stack.client.run("ask", &json!({})).await;
                assert_eq!(run.status(), "failed", "{:#}", run.0);
                assert_eq!(run.node("ask")["error"]["code"], "address_refused", "{:#}", run.0);
            }
            assert_eq!(stack.outside.hits(), []);
        })
        .await;
    }
}
