use super::*;

fn refused(text: &str) -> String {
    let error = Config::from_toml(text).unwrap_err();
    match error.hint() {
        Some(hint) => format!("{error}\nhint: {hint}"),
        None => error.to_string(),
    }
}

#[test]
fn the_defaults_are_valid_and_an_empty_file_is_them() {
    assert_eq!(Config::from_toml(""), Ok(Config::default()));
}

#[test]
fn the_known_keys_are_the_structs() {
    let full = Config {
        hostname: Some("host".to_owned()),
        advertise_addr: Some("192.0.2.1".parse().unwrap()),
        socket_group: Some("overlay".to_owned()),
        ..Config::default()
    };
    let table = toml::Table::try_from(&full).unwrap();
    assert_eq!(keys(&table), Config::KEYS);
    assert_eq!(Config::from_toml(&table.to_string()), Ok(full));
}

#[test]
fn an_unknown_key_names_the_nearest() {
    insta::assert_snapshot!(refused("dataport = 1"), @r#"
    unknown key `dataport`; did you mean `data_port`?
    hint: the keys are advertise_addr, api_port, bpf_dir, data_port, egress_ports, gossip_port, hostname, idle.tcp_established, idle.tcp_fin, idle.tcp_rst, idle.tcp_syn, idle.udp, idle.udp_stream, log, mesh_hook, restart_hold, socket, socket_group, state_dir, veth_prefix, vxlan_device
    "#);
    assert!(refused("hello = 1").starts_with("unknown key `hello`\nhint: "));
    assert!(refused("veth-prefix = 1").contains("did you mean `veth_prefix`?"));
    assert!(
        refused("[idle]\nudp = 1\ntcp_sin = 1")
            .starts_with("unknown key `idle.tcp_sin`; did you mean `idle.tcp_syn`?")
    );
    assert!(refused("log.level = 1").contains("unknown key `log.level`"));
}

#[test]
fn syntax_and_types_name_the_line() {
    insta::assert_snapshot!(refused("log = \"info\"\ndata_port = \"x\""), @r#"
    TOML parse error at line 2, column 13
      |
    2 | data_port = "x"
      |             ^^^
    invalid type: string "x", expected u16
    "#);
    insta::assert_snapshot!(refused("data_port = 65536"), @r#"
    TOML parse error at line 1, column 13
      |
    1 | data_port = 65536
      |             ^^^^^
    invalid value: integer `65536`, expected u16
    "#);
    insta::assert_snapshot!(refused("idle = 5"), @r"
    TOML parse error at line 1, column 8
      |
    1 | idle = 5
      |        ^
    invalid type: integer `5`, expected struct Idle
    ");
    insta::assert_snapshot!(refused("data_port ="), @r#"
    TOML parse error at line 1, column 12
      |
    1 | data_port =
      |            ^
    string values must be quoted, expected literal string
    "#);
}

#[test]
fn values_that_cannot_serve() {
    let long = format!("socket = \"/{}\"", "x".repeat(107));
    let messages = [
        "api_port = 0",
        "data_port = 7946",
        "api_port = 7946",
        "vxlan_device = \"sixteen-bytes-xx\"",
        "vxlan_device = \"a/b\"",
        "veth_prefix = \"\"",
        "veth_prefix = \"fives\"",
        "veth_prefix = \"a b\"",
        "veth_prefix = \"veth\"",
        "advertise_addr = \"0.0.0.0\"",
        "egress_ports = \"4000-5000\"",
        "state_dir = \"\"",
        "[idle]\nudp_stream = 0",
        &long,
    ]
    .map(|text| refused(text).replace(&"x".repeat(107), "…"));
    insta::assert_snapshot!(messages.join("\n"), @r#"
    api_port is 0: a port is from 1 to 65535
    data_port and gossip_port are both 7946, and both UDP
    hint: give gossip_port another port
    gossip_port and api_port are both 7946, and both TCP
    hint: give api_port another port
    vxlan_device: "sixteen-bytes-xx" is not an interface's name: it has 1 to 15 bytes
    vxlan_device: "a/b" is not an interface's name: it has no '/', ':', '%' or white space
    veth_prefix is "": it has 1 to 4 bytes, as the rest of the 15 that a name has are the endpoint's id
    hint: choose 1 to 4 letters that no other software uses, like "ovl"
    veth_prefix is "fives": it has 1 to 4 bytes, as the rest of the 15 that a name has are the endpoint's id
    hint: choose 1 to 4 letters that no other software uses, like "ovl"
    veth_prefix is "a b": no interface's name starts so
    hint: choose 1 to 4 letters that no other software uses, like "ovl"
    veth_prefix is "veth": other software's interfaces start so
    hint: choose 1 to 4 letters that no other software uses, like "ovl"
    advertise_addr is 0.0.0.0, where no other node reaches this one
    hint: give an address of an interface of this machine that the other nodes reach
    egress_ports are 4000-5000, and data_port is 4789, one of them
    hint: choose egress_ports that nothing on this host uses
    state_dir is empty
    idle.udp_stream is 0: a flow would end before its answer comes
    the path of the socket, /…, has 108 bytes: the kernel takes at most 107
    hint: choose a shorter path
    "#);
}

#[test]
fn an_idle_time_is_set_alone() {
    let config = Config::from_toml("[idle]\nudp = 7").unwrap();
    assert_eq!(config.idle, Idle { udp: 7, ..Idle::default() });
}

#[test]
fn data_and_api_may_share_a_number() {
    assert!(Config::from_toml("data_port = 2377").is_ok());
}

#[test]
fn flags_win_and_are_checked() {
    let config = Config::from_toml("data_port = 4790\nlog = \"debug\"").unwrap();
    let overrides = Overrides { data_port: Some(4791), ..Overrides::default() };
    let merged = overrides.apply(config.clone()).unwrap();
    assert_eq!(merged, Config { data_port: 4791, ..config.clone() });
    let clash = Overrides { data_port: Some(7946), ..Overrides::default() };
    assert!(matches!(clash.apply(config), Err(ConfigError::SamePort { .. })));
}
