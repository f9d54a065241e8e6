use proptest::prelude::*;

use super::super::properties::{aimed, check, command};
use super::*;
use crate::fixtures::{create, create_service, init, node, node_id};
use crate::intent::{Command, GrantBlock, State, apply};

/// What these commands make of an empty state; what is refused is left out.
fn intent(commands: &[Command]) -> Intent {
    let mut state = State::default();
    for command in commands {
        let command = aimed(&state.intent, command);
        let _ = apply(&mut state, &command);
    }
    state.intent
}

/// A block of network 1.
fn grant(n: u8, subnet: &str) -> Command {
    let (network, node) = (NetworkId::from_bytes([1; 16]), node_id(n));
    Command::GrantBlock(GrantBlock { network, node, subnet: subnet.parse().unwrap(), address: None })
}

/// A cluster with two nodes, which hold blocks of two networks, and a service.
fn sample() -> Vec<Command> {
    vec![
        init(),
        Command::PutNode(node(2)),
        Command::CreateNetwork(create(1, "one", &["10.1.0.0/16", "fd00:1::/64"])),
        Command::CreateNetwork(create(2, "two", &["10.2.0.0/16"])),
        grant(1, "10.1.0.0/16"),
        grant(2, "10.1.0.0/16"),
        grant(2, "fd00:1::/64"),
        Command::CreateService(create_service(1, "web", &[1, 2], &[])),
    ]
}

fn json(delta: &IntentDelta) -> String {
    serde_json::to_string(delta).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_difference_of_any_two_intents_leads_from_one_to_the_other(
        old in prop::collection::vec(command(), 0..60),
        new in prop::collection::vec(command(), 0..60),
        founded in any::<[bool; 2]>(),
    ) {
        let founded = founded.map(|founded| if founded { vec![init()] } else { Vec::new() });
        let [old, new] = [[&founded[0][..], &old].concat(), [&founded[1][..], &new].concat()].map(|it| intent(&it));
        let delta = IntentDelta::between(&old, &new);
        let read: IntentDelta = serde_json::from_str(&json(&delta)).unwrap();
        prop_assert_eq!(&read, &delta);

        let mut reached = old;
        prop_assert_eq!(read.apply_to(&mut reached), Ok(()));
        check(&reached);
        prop_assert_eq!(reached, new);
    }
}

#[test]
fn a_change_is_as_small_as_what_changed() {
    let commands = sample();
    let mut state = State::default();
    for command in &commands {
        let before = state.intent.clone();
        apply(&mut state, command).unwrap();
        let text = json(&IntentDelta::between(&before, &state.intent));
        let fields: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
        let fields: Vec<&str> = fields.keys().map(String::as_str).collect();
        let expected: &[&str] = match command {
            Command::InitCluster { .. } => &["cluster", "from", "nodes", "version"],
            Command::PutNode(_) => &["from", "nodes", "version"],
            Command::CreateNetwork(_) => &["from", "networks", "version"],
            Command::GrantBlock(_) => &["from", "grants", "version"],
            _ => &["from", "services", "version"],
        };
        assert_eq!(fields, expected, "{text}");
        assert!(text.matches("\"first\"").count() <= 1, "more than the block that was granted: {text}");
    }
    let same = IntentDelta::between(&state.intent, &state.intent);
    assert_eq!(json(&same), r#"{"from":"1.8","version":8}"#);
}

#[test]
fn it_applies_to_what_it_leads_away_from_alone() {
    let (old, new) = (intent(&sample()[..3]), intent(&sample()));
    let delta = IntentDelta::between(&old, &new);
    let mut later = intent(&sample()[..4]);
    let before = later.clone();
    let (from, held) = (Revision { epoch: 1, version: 3 }, Revision { epoch: 1, version: 4 });
    assert_eq!(delta.from(), from);
    assert_eq!(delta.clone().apply_to(&mut later), Err(WrongBase { from, held }));
    assert_eq!(later, before);

    let mut another_epoch = old;
    another_epoch.cluster.as_mut().unwrap().epoch = 2;
    assert!(delta.apply_to(&mut another_epoch).is_err());
}

#[test]
fn whoever_ceases_takes_all_that_was_theirs_along() {
    let old = intent(&sample());
    let remove = [Command::RemoveNode { id: node_id(2), force: false }];
    let new = intent(&[&sample()[..], &remove].concat());
    let mut reached = old.clone();
    IntentDelta::between(&old, &new).apply_to(&mut reached).unwrap();
    assert!(reached.removed.contains(&node_id(2)) && !reached.nodes.contains_key(&node_id(2)));
    assert_eq!(reached, new);
}

#[test]
fn revisions_are_ordered_by_epoch_first() {
    let parse = |text: &str| text.parse::<Revision>();
    assert!(parse("1.2").unwrap() > parse("0.99").unwrap());
    assert!(parse("1.3").unwrap() > parse("1.2").unwrap());
    assert_eq!(parse("7.42").unwrap().to_string(), "7.42");
    for bad in ["", ".", "1", "1.", "-1.2", "1.2.3", "1.x"] {
        assert_eq!(parse(bad), Err(NoRevision), "{bad}");
    }
}
