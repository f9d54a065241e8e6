//! Whoever talks nonsense to the agent gets a clear error; it goes on, and nothing has changed.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use anyhow::{Context as _, Result, ensure};
use overlay::api::ApiError;
use overlay_harness::lab::FORMING;
use overlay_harness::{Lab, Node, Topology};

use crate::steps::{SOON, create_network};

/// Above what the agent reads of a body.
const TOO_LARGE: usize = 3 << 20;

#[test]
fn nonsense_on_the_socket_changes_nothing() {
    Lab::run(Topology::of(1), |lab| {
        let [n1] = lab.nodes();
        lab.form_cluster()?;
        create_network(n1, "blue", &[], &[n1])?;
        lab.attach(n1, "blue", "web", &[])?;
        let (before, pid) = (everything(n1)?, n1.pid()?);
        bodies_are_refused(n1)?;
        for garbage in garbage() {
            // It may be cut off before all of it was sent; an answer, if there is one, is a refusal.
            let answer = exchange(n1, &garbage).unwrap_or_default();
            let status = answer.split(' ').nth(1).unwrap_or("400");
            ensure!(status.starts_with('4'), "{:?} is answered by {answer}", start(&garbage));
        }
        // Connections that never say anything keep nobody else waiting.
        let _silent: Vec<_> =
            (0..200).map(|_| Ok(UnixStream::connect(n1.socket())?)).collect::<Result<_>>()?;
        ensure!(everything(n1)? == before, "before: {before}\nafter: {}", everything(n1)?);
        ensure!(n1.pid()? == pid && !n1.log().contains("panicked"), "{}", n1.log());
        // And it still does what it is asked to.
        n1.ctl(&["endpoint", "detach", "web"])?;
        n1.ctl(&["network", "rm", "blue"]).map(drop)
    });
}

#[test]
fn nonsense_in_the_configuration_is_named() {
    Lab::run(Topology::of(1), |lab| {
        let [n1] = lab.nodes();
        let untouched = n1.pins();
        let good = std::fs::read_to_string(n1.config())?;
        for (line, words) in [
            ("datta_port = 4790", &["datta_port", "did you mean `data_port`", "hint: "][..]),
            ("data_port = 70000", &["data_port"]),
            ("data_port = \"4789\"", &["data_port"]),
            ("data_port = 7946\napi_port = 7946", &["7946", "hint: "]),
            ("vxlan_device = \"a-name-that-is-too-long\"", &["vxlan_device"]),
            ("socket = \"elsewhere\"", &["duplicate key"]),
            ("[services]\nall = true", &["services", "hint: "]),
            ("data_port = ", &["line"]),
            ("\u{0}\u{1}", &["line"]),
        ] {
            std::fs::write(n1.config(), format!("{good}{line}\n"))?;
            let (succeeded, said) = n1.run_agent(&[])?;
            ensure!(!succeeded && !said.contains("panicked"), "{line:?}: {said}");
            for word in [&["error: "], words].concat() {
                ensure!(said.contains(word), "{line:?} is refused without {word:?}: {said}");
            }
        }
        ensure!(!n1.state_dir().exists() && n1.pins() == untouched, "left: {:?}", n1.pins());
        ensure!(n1.netns().interfaces()? == ["eth0", "lo"], "{:?}", n1.netns().interfaces()?);
        std::fs::write(n1.config(), good)?;
        lab.form_cluster()?;
        n1.wait_ready(FORMING)
    });
}

fn bodies_are_refused(node: &Node) -> Result<()> {
    let long = "a".repeat(100_000);
    let create = |fields: &str| ("/v1/networks", format!("{{\"name\":\"red\",{fields}}}").into_bytes());
    let attach = |netns: &str, name: &str| {
        let body = serde_json::json!({ "netns": netns, "network": "blue", "name": name });
        ("/v1/endpoints", body.to_string().into_bytes())
    };
    for (path, body) in [
        ("/v1/networks", b"{".to_vec()),
        ("/v1/networks", b"[]".to_vec()),
        ("/v1/networks", b"null".to_vec()),
        ("/v1/networks", b"\xff\xfe{}".to_vec()),
        ("/v1/networks", "[".repeat(500_000).into_bytes()),
        ("/v1/networks", vec![b' '; TOO_LARGE]),
        create("\"colour\":\"red\""),
        create("\"name\":\"green\""),
        create("\"mtu\":4294967296"),
        create("\"mtu\":-1"),
        create("\"mtu\":1"),
        create("\"subnets\":[\"10.0.0.0/33\"]"),
        create("\"subnets\":[\"0.0.0.0/0\"]"),
        create("\"gateways\":[\"10.1.1.1\"]"),
        create("\"labels\":3"),
        ("/v1/networks", format!("{{\"name\":\"{long}\"}}").into_bytes()),
        ("/v1/networks", b"{\"name\":\"../red\"}".to_vec()),
        attach("/etc/passwd", "x"),
        attach("../../etc/passwd", "x"),
        attach("/run/netns/none\u{0}", "x"),
        attach(&long, "x"),
        attach("none", &long),
        attach("none", ""),
        ("/v1/endpoints", b"{\"netns\":\"none\",\"network\":\"blue\",\"name\":\"x\",\"pid\":1}".to_vec()),
        ("/v1/cluster/init", b"{\"advertise_addr\":\"localhost\"}".to_vec()),
        ("/v1/cluster/join", b"{\"token\":\"\",\"manager\":\"::1\"}".to_vec()),
    ] {
        let answer = post(node, path, &body).with_context(|| format!("{path} {:?}", start(&body)))?;
        let refusal = refusal(&answer).with_context(|| format!("{path} {:?}: {answer}", start(&body)))?;
        ensure!(!refusal.error.is_empty(), "{answer}");
    }
    Ok(())
}

/// What is no request at all, or not one of ours.
fn garbage() -> Vec<Vec<u8>> {
    let request = |head: &str| format!("{head}\r\nHost: localhost\r\n").into_bytes();
    vec![
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        vec![0; 100_000],
        b"GET\r\n\r\n".to_vec(),
        request("GET /v1/nothing HTTP/1.1"),
        request("DELETE /v1/networks HTTP/1.1"),
        request("DELETE /v1/networks/%00%ff HTTP/1.1"),
        request("DELETE /v1/endpoints/..%2f..%2fweb HTTP/1.1"),
        request(&format!("GET /{} HTTP/1.1", "a".repeat(1 << 20))),
        request("POST /v1/networks HTTP/1.1\r\nContent-Length: 18446744073709551616"),
        request("POST /v1/networks HTTP/1.1\r\nContent-Length: -1"),
        request("POST /v1/networks HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n"),
        request(&format!("GET /v1/status HTTP/1.1\r\nX: {}", "a".repeat(1 << 20))),
        request(&format!("GET /v1/status HTTP/1.1{}", "\r\nX: y".repeat(10_000))),
    ]
    .into_iter()
    .map(|head| [head, b"Connection: close\r\n\r\n".to_vec()].concat())
    .collect()
}

fn post(node: &Node, path: &str, body: &[u8]) -> Result<String> {
    let head = format!("POST {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut stream = UnixStream::connect(node.socket())?;
    stream.set_read_timeout(Some(SOON))?;
    // The agent may answer and hang up before it has read all of it.
    let _ = stream.write_all(&[head.as_bytes(), body].concat());
    read_to_end(stream)
}

/// Sends what may be no whole request, says that this is all, and reads the answer to its end.
fn exchange(node: &Node, request: &[u8]) -> Result<String> {
    let mut stream = UnixStream::connect(node.socket())?;
    stream.set_read_timeout(Some(SOON))?;
    let _ = stream.write_all(request);
    let _ = stream.shutdown(Shutdown::Write);
    read_to_end(stream)
}

fn read_to_end(mut stream: UnixStream) -> Result<String> {
    let mut answer = Vec::new();
    let end = stream.read_to_end(&mut answer);
    if answer.is_empty() {
        end?;
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn refusal(answer: &str) -> Result<ApiError> {
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    ensure!(head.split(' ').nth(1).is_some_and(|status| status.starts_with('4')), "it is no refusal");
    serde_json::from_str(body).context("its body is not an error as the API describes it")
}

/// All that the node shows of itself, but for what changes by itself.
fn everything(node: &Node) -> Result<String> {
    let mut all = String::new();
    for what in ["network", "node", "endpoint"] {
        all += &node.ctl(&[what, "ls", "-o", "json"])?;
    }
    all += &node.ctl(&["network", "inspect", "blue"])?;
    all += &node.netns().interfaces()?.join(" ");
    Ok(all)
}

fn start(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(100)]).into_owned()
}
