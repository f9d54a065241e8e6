//! Whole commands, from what is typed to what is printed, against an agent that plays answers back.

use std::os::unix::fs::PermissionsExt as _;

use clap::Parser;

use crate::args::Cli;
use crate::client::tests::{Agent, http};
use crate::error::Error;
use crate::{cmd, render};

/// What a command came to.
struct Outcome {
    result: Result<(), Error>,
    stdout: String,
    progress: String,
    /// The first line of each request.
    requests: Vec<String>,
    /// The last request's body.
    body: String,
}

fn run(line: &str, answers: Vec<String>) -> Outcome {
    let agent = Agent::answering(answers);
    let socket = agent.socket();
    let words = ["overlayctl", "--socket", socket.to_str().unwrap()].into_iter().chain(line.split(' '));
    let (mut stdout, mut progress) = (Vec::new(), Vec::new());
    let result = cmd::run(&Cli::try_parse_from(words).unwrap(), &mut stdout, &mut progress);
    let requests = agent.requests();
    let body = requests.last().and_then(|request| request.split("\r\n\r\n").nth(1)).unwrap_or_default();
    Outcome {
        result,
        stdout: String::from_utf8(stdout).unwrap(),
        progress: String::from_utf8(progress).unwrap(),
        body: body.to_owned(),
        requests: requests.iter().filter_map(|request| Some(request.lines().next()?.to_owned())).collect(),
    }
}

fn network(name: &str) -> String {
    http(
        200,
        &format!(
            r#"{{"id":"{}","name":"{name}","vni":"4096","subnets":[],"mtu":null,"internal":false,
            "allow_overlap":false,"labels":{{}}}}"#,
            "4d".repeat(16)
        ),
    )
}

fn endpoint_json(name: &str, local: &str) -> String {
    format!(
        r#"{{"id":"{}","network":"{}","name":"{name}","mac":"02:00:00:00:00:01","ip4":"10.1.0.2","ip6":null,
        "aliases":[],"labels":{{}},"network_name":"mynet","node":"{}","hostname":"web-1"{local}}}"#,
        "5e".repeat(16),
        "4d".repeat(16),
        "2b".repeat(16)
    )
}

fn status(ready: bool, waiting_for: &str) -> String {
    http(
        200,
        &format!(
            r#"{{"version":"0.1.0","node":null,"hostname":"web-1","ready":{ready},"waiting_for":[{waiting_for}],
            "manager":null,"intent_version":0,"nodes_alive":0,"nodes_total":0,"networks":0,"endpoints_local":0,
            "endpoints_total":0,"underlay":null,"failures":[],"drops":{{}}}}"#
        ),
    )
}

#[test]
fn network_create_sends_what_was_typed() {
    let outcome = run(
        "network create mynet --subnet 10.1.0.0/16 --gateway 10.1.0.9 --opt mtu=1400 --label a=b --internal",
        vec![network("mynet")],
    );
    assert!(outcome.result.is_ok());
    assert_eq!(outcome.stdout, "4d".repeat(16) + "\n");
    assert_eq!(
        outcome.body,
        r#"{"name":"mynet","subnets":["10.1.0.0/16"],"gateways":["10.1.0.9"],"mtu":1400,"internal":true,"allow_overlap":false,"labels":{"a":"b"}}"#
    );
}

#[test]
fn one_refused_network_does_not_keep_the_others() {
    let refusal = http(404, r#"{"code":"not_found","error":"no network is called \"b\"","hint":"look"}"#);
    let outcome = run("network rm a b c", vec![network("a"), refusal, network("c")]);
    assert_eq!(outcome.stdout, "a\nc\n");
    assert_eq!(
        render::error(&outcome.result.unwrap_err()),
        "error: no network is called \"b\"\nhint: look\n"
    );
}

#[test]
fn an_agent_that_goes_away_ends_it() {
    let outcome = run("network rm a b c", vec![network("a"), String::new()]);
    assert_eq!(outcome.stdout, "a\n");
    let Err(Error::Some(errors)) = outcome.result else { panic!("{:?}", outcome.result) };
    assert!(matches!(errors[..], [Error::CutOff { .. }]), "{errors:?}");
}

#[test]
fn endpoint_attach_prints_the_row_if_asked() {
    let outcome = run(
        "endpoint attach --netns blue --network mynet --name web --mac 02:00:00:00:00:01 --alias www --forward --service web --weight 7 --format json",
        vec![http(200, &endpoint_json("web", ""))],
    );
    assert!(outcome.result.is_ok());
    assert_eq!(
        outcome.body,
        r#"{"netns":"blue","network":"mynet","name":"web","ip":null,"ip6":null,"mac":"02:00:00:00:00:01","ifname":null,"aliases":["www"],"labels":{},"forward":true,"service":"web","weight":7}"#
    );
    assert!(outcome.stdout.contains(r#""ip4": "10.1.0.2""#), "{}", outcome.stdout);
}

#[test]
fn endpoint_ls_shows_those_of_this_node() {
    let local = r#","local":{"netns":"/run/netns/blue","ifname":"eth0","host_ifname":"ovl0"}"#;
    let rows = format!("[{},{}]", endpoint_json("here", local), endpoint_json("there", ""));
    let outcome = run("endpoint ls --local", vec![http(200, &rows)]);
    assert!(outcome.stdout.contains("here") && !outcome.stdout.contains("there"), "{}", outcome.stdout);
}

#[test]
fn endpoint_references_with_a_network() {
    let outcome = run("endpoint detach mynet/web", vec![http(200, &endpoint_json("web", ""))]);
    assert_eq!(outcome.requests, ["DELETE /v1/endpoints/mynet%2Fweb HTTP/1.0"]);
    assert_eq!(outcome.stdout, "mynet/web\n");
}

fn service(warnings: &str) -> String {
    let id = "8c".repeat(16);
    http(
        200,
        &format!(
            r#"{{"id":"{id}","name":"web","networks":[],"publish":[],"endpoint_mode":"vip","source_ip":"preserve",
            "affinity":"none","stop_grace_period":"10s","unavailable":"reject","vips":[],"drained":{{}},"labels":{{}},
            "warnings":[{warnings}]}}"#
        ),
    )
}

#[test]
fn service_create_sends_what_was_typed_and_warns() {
    let outcome = run(
        "service create web --network a --network b -p 8080:80 -p published=53,target=5353,protocol=udp,mode=host --source-ip snat --affinity client-ip --stop-grace-period 1m30s -l a=b",
        vec![service(r#""the node n3 is down""#)],
    );
    assert!(outcome.result.is_ok(), "{:?}", outcome.result);
    assert_eq!(outcome.stdout, "8c".repeat(16) + "\n");
    assert_eq!(outcome.progress, "warning: the node n3 is down\n");
    assert_eq!(
        outcome.body,
        r#"{"name":"web","networks":["a","b"],"publish":[{"published":"8080","target":80,"protocol":"tcp","mode":"ingress"},{"published":"53","target":5353,"protocol":"udp","mode":"host"}],"endpoint_mode":"vip","source_ip":"snat","affinity":"client-ip:10800","stop_grace_period":"1m30s","unavailable":"reject","labels":{"a":"b"}}"#
    );
}

#[test]
fn service_update_leaves_out_what_was_not_typed() {
    let outcome =
        run("service update web --publish-rm 53/udp --affinity none --label-rm a", vec![service("")]);
    assert!(outcome.result.is_ok(), "{:?}", outcome.result);
    assert_eq!(outcome.requests, ["POST /v1/services/web HTTP/1.0"]);
    assert_eq!(
        outcome.body,
        r#"{"networks_add":[],"networks_rm":[],"publish_add":[],"publish_rm":[{"published":"53","protocol":"udp"}],"endpoint_mode":null,"source_ip":null,"affinity":"none","stop_grace_period":null,"unavailable":null,"labels_add":{},"labels_rm":["a"]}"#
    );
}

fn confirmed(confirmed: &str, missing: &str, down: &str) -> String {
    http(200, &format!(r#"{{"confirmed":[{confirmed}],"missing":[{missing}],"down":[{down}]}}"#))
}

const SILENT: &str = r#"{"hostname":"n3","cause":"no answer"}"#;

fn drain(flags: &str, answers: impl IntoIterator<Item = String>) -> Outcome {
    let version = http(200, r#"{"version":7}"#);
    run(&format!("service drain web.web1 --wait{flags}"), [version].into_iter().chain(answers).collect())
}

#[test]
fn a_drain_waits_until_all_have_confirmed() {
    let all = confirmed(r#""n1","n3""#, "", r#""n4""#);
    let outcome = drain("", [confirmed(r#""n1""#, SILENT, r#""n4""#), all]);
    assert!(outcome.result.is_ok(), "{:?}", outcome.result);
    assert_eq!(outcome.stdout, "web.web1\n");
    assert_eq!(
        outcome.progress,
        "waiting for n3 (no answer)\nwarning: the node n4 is down and was not asked\n"
    );
    assert_eq!(outcome.requests[0], "POST /v1/backends/web.web1 HTTP/1.0");
    assert_eq!(outcome.body, r#"{"version":7,"wait":"1s"}"#);
}

#[test]
fn a_node_that_falls_silent_while_it_is_waited_for_is_missed() {
    let taken_for_dead = confirmed(r#""n1""#, "", r#""n3""#);
    let end = http(500, r#"{"code":"internal","error":"broken"}"#);
    let outcome = drain("", [confirmed(r#""n1""#, SILENT, ""), taken_for_dead, end]);
    assert!(matches!(outcome.result, Err(Error::Api(_))), "{:?}", outcome.result);
    assert_eq!(outcome.progress, "waiting for n3 (no answer)\nwaiting for n3 (it went down meanwhile)\n");
}

#[test]
fn a_drain_that_is_not_confirmed_in_time_names_who_is_missing() {
    let outcome = drain(" --timeout 0", [confirmed(r#""n1""#, SILENT, "")]);
    let Err(Error::Unconfirmed { missing, .. }) = outcome.result else { panic!("{:?}", outcome.result) };
    assert_eq!(missing, ["n3 (no answer)"]);
    assert_eq!(outcome.stdout, "");
}

#[test]
fn service_stats_names_the_nodes_whose_share_is_missing() {
    let stats = http(200, &format!(r#"{{"services":[],"missing":[{SILENT}],"down":["n4"]}}"#));
    let outcome = run("service stats web -o json", vec![stats]);
    assert_eq!(outcome.requests, ["GET /v1/stats/web HTTP/1.0"]);
    assert_eq!(outcome.stdout, "[]\n");
    assert_eq!(
        outcome.progress,
        "warning: what the node n3 counted is missing: no answer\nwarning: the node n4 is down and was not asked\n"
    );
}

#[test]
fn service_stats_are_watched_until_the_agent_goes_away() {
    let stats = || http(200, r#"{"services":[],"missing":[],"down":[]}"#);
    let outcome = run("service stats --watch --interval 0", vec![stats(), stats(), stats(), String::new()]);
    assert!(matches!(outcome.result, Err(Error::CutOff { .. })), "{:?}", outcome.result);
    assert_eq!(outcome.stdout.matches("PACKETS/S").count(), 2, "{}", outcome.stdout);
}

#[test]
fn flow_ls_says_when_there_are_more() {
    let line = "flow ls --service web --protocol udp --limit 1";
    let outcome = run(line, vec![http(200, r#"{"flows":[],"total":7}"#)]);
    assert!(outcome.result.is_ok(), "{:?}", outcome.result);
    assert_eq!(outcome.requests, ["POST /v1/flows HTTP/1.0"]);
    assert_eq!(outcome.body, r#"{"service":"web","backend":null,"protocol":"udp","limit":1}"#);
    assert!(outcome.progress.starts_with("0 of 7 flows, "), "{}", outcome.progress);
    let outcome = run("flow ls", vec![http(200, r#"{"flows":[],"total":0}"#)]);
    assert_eq!(outcome.progress, "");
}

#[test]
fn flow_flush_prints_how_many_ended() {
    let outcome = run("flow flush --backend web.web1", vec![http(200, r#"{"flows":3}"#)]);
    assert_eq!(outcome.requests, ["POST /v1/flows/flush HTTP/1.0"]);
    assert_eq!(outcome.body, r#"{"all":false,"service":null,"backend":"web.web1"}"#);
    assert_eq!(outcome.stdout, "3\n");
}

#[test]
fn waiting_tells_every_change_once() {
    let waiting = || status(false, r#""the manager","facts""#);
    let unavailable = http(503, r#"{"code":"unavailable","error":"starting"}"#);
    let outcome = run(
        "status --wait",
        vec![unavailable, waiting(), waiting(), status(false, r#""facts""#), status(true, "")],
    );
    assert!(outcome.result.is_ok());
    assert_eq!(
        outcome.progress,
        "waiting for overlayd to answer (starting)\nwaiting for the manager; facts\nwaiting for facts\n"
    );
    assert!(outcome.stdout.contains("ready"), "{}", outcome.stdout);
}

#[test]
fn waiting_ends_with_what_is_missing() {
    let outcome = run("status --wait --timeout 1", vec![status(false, r#""facts""#)]);
    let Err(Error::NotReady { missing, .. }) = outcome.result else { panic!("{:?}", outcome.result) };
    assert!(!missing.is_empty());
}

#[test]
fn a_refusal_while_waiting_ends_it() {
    let internal = http(500, r#"{"code":"internal","error":"broken"}"#);
    let outcome = run("status --wait", vec![internal]);
    assert!(matches!(outcome.result, Err(Error::Api(_))), "{:?}", outcome.result);
}

#[test]
fn completion_knows_the_verbs() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let outcome = run(&format!("completion {shell}"), vec![]);
        assert!(outcome.stdout.contains("attach") && outcome.stdout.contains("no-trunc"), "{shell}");
    }
}

fn rotation(under_way: bool, waiting_for: &[&str]) -> String {
    let waiting_for = serde_json::to_string(waiting_for).unwrap();
    http(200, &format!(r#"{{"newest":"2","under_way":{under_way},"waiting_for":{waiting_for}}}"#))
}

#[test]
fn a_rotation_is_waited_for_and_says_for_whom() {
    let answers = vec![
        rotation(true, &["web-2", "web-3"]),
        rotation(true, &["web-3"]),
        rotation(true, &["web-3"]),
        rotation(false, &[]),
    ];
    let outcome = run("cluster key rotate", answers);
    outcome.result.unwrap();
    assert_eq!(outcome.progress, "waiting for web-2, web-3\nwaiting for web-3\n");
    assert_eq!(outcome.stdout, "2\n");
    assert_eq!(outcome.requests[0], "POST /v1/cluster/key HTTP/1.0");
    assert_eq!(outcome.requests[1], "GET /v1/cluster/key HTTP/1.0");

    let outcome = run("cluster ca rotate --detach", vec![rotation(true, &["web-2"])]);
    outcome.result.unwrap();
    assert_eq!((outcome.stdout.as_str(), outcome.requests.len()), ("2\n", 1));
}

const BACKUP: &str =
    r#"{"format":1,"version":"0.1.0","taken_at":7,"cluster":"c","sha256":"ab","state":"{}"}"#;

#[test]
fn a_backup_is_its_owners_alone_and_replaces_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup.json");
    let line = format!("cluster backup {}", file.display());
    let outcome = run(&line, vec![http(200, BACKUP)]);
    outcome.result.unwrap();
    assert_eq!(outcome.stdout, format!("{}\n", file.display()));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let again = run(&line, vec![http(200, BACKUP)]).result.unwrap_err();
    assert!(again.hint().unwrap().contains("another one"), "{again}");

    let restored = http(
        200,
        r#"{"node":"2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b","join_token":"T","manager":"10.0.0.1:2377"}"#,
    );
    let outcome = run(&format!("cluster restore {}", file.display()), vec![restored]);
    outcome.result.unwrap();
    let body: serde_json::Value = serde_json::from_str(&outcome.body).unwrap();
    assert_eq!(body["backup"], serde_json::from_str::<serde_json::Value>(BACKUP).unwrap());

    std::fs::write(&file, "{}").unwrap();
    let error = run(&format!("cluster restore {}", file.display()), vec![]).result.unwrap_err();
    assert!(matches!(error, Error::NoBackup { .. }), "{error}");
}

#[test]
fn one_node_that_cannot_be_removed_does_not_keep_the_others() {
    let row = r#"{"id":"2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b","hostname":"web-2","this":false,"status":"down",
        "availability":"active","manager":null,"addr":"10.0.0.2","version":"0.1.0"}"#;
    let refusal = r#"{"code":"conflict","error":"web-1 is alive","hint":"use --force"}"#;
    let outcome = run("node rm --force web-1 web-2", vec![http(409, refusal), http(200, row)]);
    assert!(matches!(outcome.result, Err(Error::Some(_))));
    assert_eq!(outcome.stdout, "web-2\n");
    assert_eq!(outcome.requests[1], "DELETE /v1/nodes/web-2 HTTP/1.0");
    assert_eq!(outcome.body, r#"{"force":true}"#);
}

#[test]
fn an_answer_that_may_be_old_says_so() {
    let fresh = http(200, "[]");
    let stale = fresh.replacen("\r\n", "\r\nOverlay-Stale: no majority of managers is reachable\r\n", 1);
    let outcome = run("network ls", vec![stale]);
    outcome.result.unwrap();
    let warning = "warning: this is what this node last knew: no majority of managers is reachable\n";
    assert_eq!(outcome.progress, warning);
    assert_eq!(run("network ls", vec![fresh]).progress, "");
}
