//! Published ports as users write them: Docker's short and long forms.

use overlay::api::Unpublish;
use overlay::model::{PortRange, Protocol, Publish, PublishMode};

/// `8080:80/udp`, `8000-8010:80-90`, or `published=8080,target=80,protocol=tcp,mode=ingress`.
pub(super) fn publish(text: &str) -> Result<Publish, String> {
    if text.contains('=') { long(text) } else { short(text) }
}

/// A published port or range, and its protocol.
pub(super) fn unpublish(text: &str) -> Result<Unpublish, String> {
    let (ports, protocol) = with_protocol(text)?;
    let published = ports.parse().map_err(|_| {
        "not a published port or range like 8080, 53/udp or 8000-8010; the target is not given".to_owned()
    })?;
    Ok(Unpublish { published, protocol })
}

fn short(text: &str) -> Result<Publish, String> {
    let (ports, protocol) = with_protocol(text)?;
    let Some((published, target)) = ports.rsplit_once(':') else {
        return Err(format!(
            "not ports like 8080:80, 53:5353/udp or 8000-8010:80-90\nhint: to publish port {ports} under its own number, write {ports}:{ports}"
        ));
    };
    if published.contains(':') {
        return Err("a published port is reached on every address of every node; give no address".to_owned());
    }
    new(parse(published)?, parse(target)?, protocol, PublishMode::default())
}

fn long(text: &str) -> Result<Publish, String> {
    let (mut published, mut target) = (None, None);
    let (mut protocol, mut mode) = (Protocol::default(), PublishMode::default());
    for part in text.split(',') {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        match key {
            "published" => published = Some(parse(value)?),
            "target" => target = Some(parse(value)?),
            "protocol" => protocol = value.parse().map_err(|error| format!("{error}"))?,
            "mode" => mode = value.parse().map_err(|error| format!("{error}"))?,
            _ => return Err(format!("{key:?} is none of published, target, protocol and mode")),
        }
    }
    match (published, target) {
        (Some(published), Some(target)) => new(published, target, protocol, mode),
        (None, _) => Err("published= is missing, the port that clients reach".to_owned()),
        (_, None) => Err("target= is missing, the port that backends listen on".to_owned()),
    }
}

fn new(
    published: PortRange,
    target: PortRange,
    protocol: Protocol,
    mode: PublishMode,
) -> Result<Publish, String> {
    let length = |range: PortRange| u32::from(range.last() - range.first()) + 1;
    // The short form of a range's target is its first port, as in the long form.
    if length(target) != 1 && length(target) != length(published) {
        return Err(format!(
            "{published} are {} ports, and {target} are {}: they lead to each other one to one",
            length(published),
            length(target)
        ));
    }
    Publish::new(published, target.first(), protocol, mode).map_err(|error| error.to_string())
}

fn parse(text: &str) -> Result<PortRange, String> {
    text.parse().map_err(|error| format!("{error}"))
}

fn with_protocol(text: &str) -> Result<(&str, Protocol), String> {
    match text.split_once('/') {
        Some((ports, protocol)) => Ok((ports, protocol.parse().map_err(|error| format!("{error}"))?)),
        None => Ok((text, Protocol::default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let publish = publish(text).unwrap();
        format!("{} {} {} {}", publish.published(), publish.targets(), publish.protocol(), publish.mode())
    }

    #[test]
    fn both_forms() {
        for (text, wanted) in [
            ("8080:80", "8080 80 tcp ingress"),
            ("8080:80/udp", "8080 80 udp ingress"),
            ("8000-8010:80-90", "8000-8010 80-90 tcp ingress"),
            ("8000-8010:80/tcp", "8000-8010 80-90 tcp ingress"),
            ("published=8080,target=80", "8080 80 tcp ingress"),
            ("published=8000-8001,target=65534,protocol=udp,mode=host", "8000-8001 65534-65535 udp host"),
            ("1-65535:1-65535", "1-65535 1-65535 tcp ingress"),
        ] {
            assert_eq!(shown(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_port_to_publish_no_more() {
        let parsed = unpublish("8000-8010/udp").unwrap();
        assert_eq!((parsed.published.to_string().as_str(), parsed.protocol), ("8000-8010", Protocol::Udp));
        assert_eq!(unpublish("80").unwrap().protocol, Protocol::Tcp);
        assert!(unpublish("8080:80").unwrap_err().contains("the target is not given"));
    }
}
