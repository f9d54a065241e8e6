use overlay::intent::State;
use overlay::model::Seconds;

use super::*;
use crate::identity::{Authority, Identity};
use crate::manager::tests::initial;

const HOUR: Duration = Duration::from_secs(3600);

/// A cluster whose certificates last for an hour, of its one node's CA.
struct Case {
    authority: Authority,
    state: State,
}

impl Case {
    fn new() -> Self {
        let mut state = initial();
        let authority = Authority::from(state.secrets.ca.clone().unwrap());
        state.intent.cluster.as_mut().unwrap().cert_lifetime = Seconds(3600);
        Self { authority, state }
    }

    fn identity(&self, manager: bool) -> Identity {
        let node = self.state.intent.managers().next().unwrap().id;
        let request = Request::new(node).unwrap();
        let signed = self.authority.sign(request.csr(), node, manager, Seconds(3600)).unwrap();
        request.complete(signed.chain, self.authority.cert().to_owned()).unwrap()
    }

    /// What is due once a manager's certificate has so long left.
    fn due(&self, left: Duration, jitter: f64) -> Due {
        self.due_of(&self.identity(true), left, jitter)
    }

    fn due_of(&self, identity: &Identity, left: Duration, jitter: f64) -> Due {
        let shown = identity.certified().unwrap();
        let intent = &self.state.intent;
        let (cluster, node) = (intent.cluster.as_ref().unwrap(), &intent.nodes[&shown.node]);
        due(&shown, cluster, node, shown.until - left, jitter)
    }
}

#[test]
fn a_certificate_is_renewed_when_a_third_of_its_time_is_left() {
    let case = Case::new();
    assert_eq!(case.due(HOUR, 0.0), Due::Nothing(HOUR * 2 / 3));
    assert_eq!(case.due(HOUR, 1.0), Due::Nothing(HOUR * 7 / 12));
    assert_eq!(case.due(HOUR / 3, 0.0), Due::Renewal("it is old"));
    assert_eq!(case.due(Duration::ZERO, 0.0), Due::Renewal("it is old"));
}

#[test]
fn a_certificate_of_another_role_is_renewed() {
    let case = Case::new();
    let workers = case.due_of(&case.identity(false), HOUR, 0.0);
    assert_eq!(workers, Due::Renewal("the node's role has changed"));
}

#[test]
fn a_certificate_of_the_ca_before_is_renewed_and_the_new_one_told() {
    let mut case = Case::new();
    let old = case.identity(true);
    let next = Authority::new("next").unwrap();
    overlay::intent::apply(&mut case.state, &Command::AddCa(next.keys().clone())).unwrap();
    assert_eq!(case.due_of(&old, HOUR, 0.0), Due::Nothing(HOUR * 2 / 3));
    // Of a manager that knows of the next step before this node does.
    let before = std::mem::replace(&mut case.authority, next);
    assert!(matches!(case.due(HOUR, 0.0), Due::Nothing(_)));

    let cert = case.authority.cert().to_owned();
    overlay::intent::apply(&mut case.state, &Command::UseCa { cert: cert.clone() }).unwrap();
    assert_eq!(case.due_of(&old, HOUR, 0.0), Due::Renewal("another CA signs now"));
    assert_eq!(case.due(HOUR, 0.0), Due::Note(cert.clone()));
    let node = case.state.intent.managers().next().unwrap().id;
    overlay::intent::apply(&mut case.state, &Command::NoteCertificate { node, issuer: cert }).unwrap();
    assert!(matches!(case.due(HOUR, 0.0), Due::Nothing(_)));
    overlay::intent::apply(&mut case.state, &Command::DropCa { cert: before.cert().to_owned() }).unwrap();
    assert_eq!(case.due_of(&old, HOUR, 0.0), Due::Renewal("another CA signs now"));
}
