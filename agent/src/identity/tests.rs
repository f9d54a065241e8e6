use std::time::{Duration, SystemTime};

use overlay::model::Seconds;
use rustls::pki_types::CertificateDer;

use super::*;

const NODE: NodeId = NodeId::from_bytes([7; 16]);
const HOUR: Seconds = Seconds(3600);

fn identity(authority: &Authority, manager: bool) -> Identity {
    let request = Request::new(NODE).unwrap();
    let signed = authority.sign(request.csr(), NODE, manager, HOUR).unwrap();
    request.complete(signed.chain, authority.cert().to_owned()).unwrap()
}

#[test]
fn a_nodes_certificate_names_it_and_its_role() {
    let authority = Authority::new("test").unwrap();
    for manager in [false, true] {
        let identity = identity(&authority, manager);
        assert_eq!(identity.chain.matches("BEGIN CERTIFICATE").count(), 2);
        let certified = identity.certified().unwrap();
        assert_eq!((certified.node, certified.manager), (NODE, manager));
        let left = certified.until.duration_since(SystemTime::now()).unwrap();
        assert!(left <= Duration::from_secs(3600), "{left:?}");
        assert!(!format!("{identity:?}{authority:?}").contains("PRIVATE"));
    }
}

#[test]
fn a_certificate_tells_which_ca_signed_it() {
    let [first, second] = [(); 2].map(|()| Authority::new("test").unwrap());
    let certified = identity(&second, false).certified().unwrap();
    assert_eq!(certified.issuer_among([first.cert(), second.cert()].into_iter()), Some(second.cert()));
    assert_eq!(certified.issuer_among([first.cert()].into_iter()), None);
}

#[test]
fn a_certificate_of_the_ca_is_no_nodes() {
    let authority = Authority::new("test").unwrap();
    assert_eq!(Certified::of(&CertificateDer::from_pem_slice(authority.cert().as_bytes()).unwrap()), None);
}

#[test]
fn requests_for_another_node_or_of_nonsense_are_refused() {
    let authority = Authority::new("test").unwrap();
    let request = Request::new(NodeId::from_bytes([8; 16])).unwrap();
    let outcome = authority.sign(request.csr(), NODE, false, HOUR);
    assert!(matches!(outcome, Err(IdentityError::NotTheNode { expected: NODE })));
    for nonsense in [
        "",
        "x",
        authority.cert(),
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
    ] {
        assert!(authority.sign(nonsense, NODE, false, HOUR).is_err(), "{nonsense}");
    }
}

#[test]
fn a_certificate_does_not_complete_another_request() {
    let authority = Authority::new("test").unwrap();
    let signed = authority.sign(Request::new(NODE).unwrap().csr(), NODE, false, HOUR).unwrap();
    let other = Request::new(NODE).unwrap();
    assert!(other.complete(signed.chain, authority.cert().to_owned()).is_err());
}

mod connections;
