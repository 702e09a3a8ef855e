//! `skein dev`, which stays and listens.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use super::skein::{Running, TestDirectory};

/// The status that a request with these headers is answered with.
fn status(address: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let request = format!("GET /livez HTTP/1.1\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer.split_whitespace().nth(1).unwrap_or_default().to_owned()
}

/// Starts `skein dev` in the directory; the process and what it says of itself.
pub(crate) fn start(temp: &TestDirectory) -> (Running, String) {
    start_with(temp, &[])
}

/// The same with flags.
pub(crate) fn start_with(temp: &TestDirectory, flags: &[&str]) -> (Running, String) {
    let args = [&["dev", "--listen", "127.0.0.1:0"], flags].concat();
    let dev = temp.skein(&args).spawn();
    let mut child = dev.expect("skein can be started");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let running = Running::of(child);
    // The banner ends with what stops it.
    let mut banner = String::new();
    while !banner.contains("Ctrl-C") {
        let line = lines.next().expect("a banner").expect("it is text");
        banner = format!("{banner}{line}\n");
    }
    (running, banner)
}

#[test]
fn a_server_on_this_machine_keeps_its_key_to_itself_and_other_sites_out() {
    let temp = TestDirectory::new("dev");
    let (_running, banner) = start(&temp);
    let key = std::fs::read_to_string(temp.path().join(".skein/key")).unwrap();
    assert!(!banner.contains(key.trim()), "a pipe is no terminal: {banner}");
    assert!(banner.contains("Key     in .skein/key"), "{banner}");

    let (_, address) = banner.split_once("http://").unwrap();
    let address = address.split_whitespace().next().unwrap();
    for (headers, expected) in [
        (format!("host: {address}\r\n"), "200"),
        (format!("host: {address}\r\norigin: http://{address}\r\n"), "200"),
        ("host: evil.example\r\n".to_owned(), "421"),
        (format!("host: {address}\r\norigin: http://evil.example\r\n"), "403"),
        (format!("host: {address}\r\nsec-fetch-site: cross-site\r\n"), "403"),
    ] {
        assert_eq!(status(address, &headers), expected, "{headers}");
    }
}
