//! Real round trips over a Unix socket, with an agent that plays back one HTTP answer a connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::{self, JoinHandle};

use overlay::api::{ClusterInit, ClusterInitialized, ErrorCode};
use tempfile::TempDir;

use super::*;

/// Answers one connection after another, and returns the requests that it got.
pub(crate) struct Agent {
    folder: TempDir,
    thread: JoinHandle<Vec<String>>,
}

impl Agent {
    pub(crate) fn answering(answers: Vec<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("agent.sock")).unwrap();
        let thread = thread::spawn(move || {
            let exchange = |answer: String| {
                let (stream, _) = listener.accept().unwrap();
                let request = read_request(&stream);
                (&stream).write_all(answer.as_bytes()).unwrap();
                request
            };
            answers.into_iter().map(exchange).collect()
        });
        Self { folder, thread }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("agent.sock")
    }

    /// What was asked, once every answer was given.
    pub(crate) fn requests(self) -> Vec<String> {
        self.thread.join().unwrap()
    }
}

/// A whole HTTP answer.
pub(crate) fn http(status: u16, body: &str) -> String {
    format!("HTTP/1.0 {status} Whatever\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn read_request(stream: &UnixStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut request).unwrap(), 0, "the request ended in its head: {request}");
    }
    let length = request.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    request + &String::from_utf8(body).unwrap()
}

fn answer_to_get(answer: impl Into<String>) -> Result<Vec<u32>, Error> {
    let agent = Agent::answering(vec![answer.into()]);
    let answer = Client::new(&agent.socket()).get(&["things"]);
    agent.requests();
    answer
}

#[test]
fn a_request_and_its_answer() {
    let node = "ab".repeat(16);
    let agent = Agent::answering(vec![http(
        200,
        &format!(r#"{{"node":"{node}","join_token":"T","manager":"[fd00::1]:2377"}}"#),
    )]);
    let request = ClusterInit { advertise_addr: Some("fd00::1".parse().unwrap()), ..ClusterInit::default() };
    let cluster: ClusterInitialized =
        Client::new(&agent.socket()).post(&["cluster", "init"], &request).unwrap();
    assert_eq!(cluster.manager, "[fd00::1]:2377".parse().unwrap());
    insta::assert_snapshot!(agent.requests().concat().replace('\r', ""), @r#"
    POST /v1/cluster/init HTTP/1.0
    Host: overlayd
    Connection: close
    Content-Type: application/json
    Content-Length: 75

    {"advertise_addr":"fd00::1","cert_lifetime":null,"force_new_cluster":false}
    "#);
}

#[test]
fn references_are_percent_encoded() {
    assert_eq!(
        target(&["endpoints", "my net/wéb-1_.~?#%"]),
        "/v1/endpoints/my%20net%2Fw%C3%A9b-1_.~%3F%23%25"
    );
}

#[test]
fn an_answer_without_a_length_goes_to_the_end() {
    assert_eq!(answer_to_get("HTTP/1.1 200 OK\r\n\r\n[1,2]").unwrap(), [1, 2]);
}

#[test]
fn a_refusal_is_the_agents_own_words() {
    let refusal = r#"{"code":"not_found","error":"no network is called \"x\"","hint":"list them"}"#;
    let Err(Error::Api(error)) = answer_to_get(http(404, refusal)) else { panic!("not a refusal") };
    assert_eq!(error, ApiError::new(ErrorCode::NotFound, "no network is called \"x\"").hint("list them"));
}

#[test]
fn answers_that_end_too_early() {
    let whole = http(200, "[1,2]");
    for length in 0..whole.len() {
        let error = answer_to_get(&whole[..length]).unwrap_err();
        assert!(matches!(error, Error::CutOff { received } if received == length), "{length}: {error}");
    }
    assert!(answer_to_get(whole).is_ok());
}

#[test]
fn answers_of_something_else() {
    for (answer, cause) in [
        ("SSH-2.0-OpenSSH_9.9\r\n".to_owned(), "no HTTP"),
        (http(404, ""), "HTTP status 404 for GET /v1/things"),
        (http(200, "<html>"), "expected value"),
        (http(200, r#"{"not":"a list"}"#), "invalid type"),
    ] {
        let error = answer_to_get(answer).unwrap_err();
        assert!(matches!(&error, Error::NotUnderstood { what } if what.contains(cause)), "{error}");
    }
}

#[test]
fn no_agent() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent.sock");
    let ask = || Client::new(&socket).get::<Vec<u32>>(&["things"]).unwrap_err();

    assert!(matches!(ask(), Error::NotRunning { source, .. } if source.kind() == io::ErrorKind::NotFound));

    drop(UnixListener::bind(&socket).unwrap());
    assert!(
        matches!(ask(), Error::NotRunning { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused)
    );
}

#[test]
fn an_agent_that_is_silent() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    let client = Client::new(&socket).patience(Duration::ZERO);
    assert!(matches!(client.get::<Vec<u32>>(&["things"]), Err(Error::Silent { .. })));
}
