//! A world that a test directs by hand: who writes what, when nobody hears anybody, when all is quiet again.

use holdfast_core::time::Millis;
use holdfast_storage::record::operation::Logged;
use holdfast_storage::request::Request;

use crate::checkers::NodeEnding;
use crate::faults::Fault;
use crate::node::Stimulus;
use crate::world::{Failure, World};

impl World {
    /// Lets time pass.
    pub fn wait(&mut self, time: Millis) {
        self.run_until(self.now + time);
    }

    /// Nobody hears anybody from now on.
    pub fn isolate(&mut self) {
        self.between_all(|from, to| Fault::Cut { from, to });
    }

    /// Everybody hears everybody again.
    pub fn join(&mut self) {
        self.between_all(|from, to| Fault::Mend { from, to });
    }

    /// A client writes at a node, which commits at this very moment. Gives what was acknowledged.
    pub fn write(&mut self, node: usize, request: Request) -> Vec<Logged> {
        let before = self.acknowledged.len();
        self.tell(node, Stimulus::Client(request));
        self.tell(node, Stimulus::Commit);
        self.acknowledged.get(before..).unwrap_or_default().to_vec()
    }

    /// Something happens to somebody.
    pub fn strike(&mut self, fault: Fault) {
        self.suffer(fault);
    }

    /// Runs until everybody has said all there is to say, and gives what each node holds then.
    pub fn settle(&mut self) -> Result<Vec<NodeEnding>, Failure> {
        self.rest()?;
        self.look()
    }

    /// What each node holds now.
    pub fn look(&self) -> Result<Vec<NodeEnding>, Failure> {
        let mut nodes = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let Some(database) = node.database() else { return Err(self.fail("a node stays down".to_owned())) };
            nodes.push(NodeEnding::read(database, node.origin().clone()));
        }
        Ok(nodes)
    }

    fn between_all(&mut self, fault: impl Fn(usize, usize) -> Fault) {
        for from in 0..self.nodes.len() {
            for to in (0..self.nodes.len()).filter(|to| *to != from) {
                self.suffer(fault(from, to));
            }
        }
    }
}
