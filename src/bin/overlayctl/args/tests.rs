//! Help texts as users see them, and what is said of values that are none.

use clap::CommandFactory;
use clap::builder::Resettable;

use super::*;

/// Every `--help`, 100 columns wide.
#[test]
fn help() {
    let mut command = Cli::command().term_width(100);
    command.build();
    snapshot_help(&mut command, "overlayctl");
}

fn snapshot_help(command: &mut clap::Command, path: &str) {
    insta::assert_snapshot!(path.replace(' ', "_"), command.render_long_help().to_string());
    for child in command.get_subcommands_mut().filter(|child| child.get_name() != "help") {
        let path = format!("{path} {}", child.get_name());
        snapshot_help(child, &path);
    }
}

#[test]
fn definition_is_consistent() {
    Cli::command().debug_assert();
}

/// What is typed after `overlayctl`, and the answer.
fn complaints(lines: &[&str]) -> String {
    let complaint = |line: &&str| {
        let words = std::iter::once("overlayctl").chain(line.split_whitespace());
        let command = Cli::command()
            .term_width(100)
            // Whoever runs the tests may have it set, and clap's usage lines show that.
            .mut_arg("socket", |socket| socket.env(Resettable::Reset));
        let error = command.try_get_matches_from(words).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
        format!("$ overlayctl {line}\n{error}\n")
    };
    lines.iter().map(complaint).collect()
}

#[test]
fn wrong_values_of_networks() {
    insta::assert_snapshot!(complaints(&[
        "network create -x",
        "network create my/net",
        "network create mynet --subnet 10.1.0.0/33",
        "network create mynet --subnet 10.1.0.0",
        "network create mynet --gateway 10.1.0",
        "network create mynet --label team",
        "network create mynet --label =web",
        "network create mynet --opt mtu=big",
        "network create mynet --opt mtu",
        "network create mynet --opt com.docker.network.driver.mtu=1400",
        "network rm",
        "network ls -q --format json",
        "network ls --format yaml",
    ]));
}

#[test]
fn wrong_values_of_endpoints() {
    insta::assert_snapshot!(complaints(&[
        "endpoint attach --network mynet --name web",
        "endpoint attach --netns n --network mynet --name web --mac 02:00:00:00:00",
        "endpoint attach --netns n --network mynet --name web --mac 01:00:5e:00:00:01",
        "endpoint attach --netns n --network mynet --name web --ip fd00::1",
        "endpoint attach --netns n --network mynet --name web --alias a/b",
    ]));
}

#[test]
fn wrong_values_of_services() {
    insta::assert_snapshot!(complaints(&[
        "service create web",
        "service create we/b --network mynet",
        "service create web --network mynet --publish 80",
        "service create web --network mynet --publish 0:80",
        "service create web --network mynet --publish 80:65536",
        "service create web --network mynet --publish 80:http",
        "service create web --network mynet --publish 80:80/sctp",
        "service create web --network mynet --publish 10.0.0.1:80:80",
        "service create web --network mynet --publish 8000-8010:80-99",
        "service create web --network mynet --publish 8010-8000:80",
        "service create web --network mynet --publish 1-2:65535",
        "service create web --network mynet --publish published=80",
        "service create web --network mynet --publish target=80",
        "service create web --network mynet --publish published=80,target=80,port=80",
        "service create web --network mynet --publish published=80,target=80,mode=swarm",
        "service create web --network mynet --endpoint-mode dns",
        "service create web --network mynet --affinity cookie",
        "service create web --network mynet --affinity client-ip:0",
        "service create web --network mynet --stop-grace-period 10",
        "service update web --publish-rm 8080:80",
        "service drain web.web1 --timeout 5",
        "service stats --interval 5",
        "service stats --watch --format json",
        "flow flush",
        "flow flush --all --service web",
        "flow ls --protocol sctp",
        "flow ls --limit many",
        "node update n1",
        "node update n1 --availability off",
        "endpoint attach --netns n --network mynet --name web --weight 5",
        "endpoint attach --netns n --network mynet --name web --service web --weight 1001",
    ]));
}

#[test]
fn wrong_values_of_the_rest() {
    insta::assert_snapshot!(complaints(&[
        "cluster join 10.0.0.1",
        "cluster join --token T",
        "cluster join --token T fd00::1",
        "cluster join --token T manager.example",
        "cluster join --token T 10.0.0.1:70000",
        "status --timeout 5",
        "status --wait --timeout soon",
        "completion cmd",
        "netwrok ls",
    ]));
}

#[test]
fn a_managers_port_may_be_left_out() {
    for (text, address) in [
        ("10.0.0.1", "10.0.0.1:2377"),
        ("10.0.0.1:99", "10.0.0.1:99"),
        ("[fd00::1]", "[fd00::1]:2377"),
        ("[fd00::1]:99", "[fd00::1]:99"),
    ] {
        assert_eq!(parse::manager(text), Ok(address.parse().unwrap()), "{text}");
    }
}

#[test]
fn a_label_may_be_empty_or_contain_the_sign() {
    assert_eq!(parse::label("a="), Ok(("a".to_owned(), String::new())));
    assert_eq!(parse::label("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
}

#[test]
fn only_a_relative_path_to_a_namespace_is_changed() {
    for same in ["blue", "4711", "/proc/4711/ns/net"] {
        assert_eq!(parse::netns(same).as_deref(), Ok(same));
    }
    let here = std::env::current_dir().unwrap();
    assert_eq!(parse::netns("./blue").unwrap(), here.join("blue").to_str().unwrap());
    assert!(parse::netns("").is_err());
}

#[test]
fn wrong_values_of_clusters_and_nodes() {
    insta::assert_snapshot!(complaints(&[
        "cluster join-token",
        "cluster join-token boss",
        "cluster init --force-new-cluster --advertise-addr 10.0.0.1",
        "cluster init --cert-lifetime soon",
        "cluster ca",
        "cluster backup",
        "node update web-2",
        "node update web-2 --label-add rack",
        "node promote",
        "node rm --force",
    ]));
}
