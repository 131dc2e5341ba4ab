//! A laboratory: three machines in a row, and one thing between them broken.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::thread;

use echo_server::{Config, Handle, Server};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::network::{in_own_network, run};

/// The server's addresses.
pub const SERVER: [&str; 2] = ["203.0.113.2", "2001:db8:2::2"];
/// The port of an echo server.
pub const PORT: u16 = 5346;

/// This machine, a router and a server, each a namespace of its own that ends with the test.
pub struct Lab(());

impl Lab {
    /// Runs `body`, the whole of the test called `test`, on this machine of a new laboratory.
    pub fn open(test: &str, body: impl FnOnce(&Lab)) {
        in_own_network(test, || {
            let wiring = include_str!("wiring.sh").lines();
            wiring.filter(|line| !line.starts_with('#')).for_each(run);
            body(&Lab(()));
        });
    }

    /// Runs a command on the router, its words between spaces.
    pub fn router(&self, words: &str) {
        run(&format!("ip netns exec router {words}"));
    }

    /// Has what the router forwards meet this rule of nft.
    pub fn forward(&self, rule: &str) {
        self.rule("filter hook forward priority 0", rule);
    }

    /// Has packets meet this rule of nft on the router, in a chain of this kind of its own.
    pub fn rule(&self, chain: &str, rule: &str) {
        let name = chain.replace(' ', "_").replace('-', "minus");
        self.router("nft add table inet lab");
        self.router(&format!(
            "nft add chain inet lab {name} {{ type {chain} ; }}"
        ));
        self.router(&format!("nft add rule inet lab {name} {rule}"));
    }

    /// Does this on the machine of that name, `router` or `server`; sockets made there stay there.
    pub fn at<T: Send>(&self, machine: &str, work: impl FnOnce() -> T + Send) -> T {
        let network = File::open(format!("/run/netns/{machine}")).expect("a machine's name");
        let there = || {
            let network_type = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(network.as_fd(), network_type).expect("we may");
            work()
        };
        thread::scope(|scope| scope.spawn(there).join().expect("it works there"))
    }

    /// Serves each connection to this address of a machine as `serve` does, as long as the test lives.
    pub fn accept(
        &self,
        machine: &str,
        address: &str,
        serve: impl Fn(TcpStream) + Clone + Send + 'static,
    ) {
        let listener = self
            .at(machine, || TcpListener::bind(address))
            .expect("a port");
        let accept = move || {
            for stream in listener.incoming().flatten() {
                let serve = serve.clone();
                thread::spawn(move || serve(stream));
            }
        };
        // What it connects to is reached from that machine, too.
        self.at(machine, || thread::spawn(accept));
    }

    /// Starts an echo server that listens there, as `listen` says and `config` besides.
    pub fn serve(&self, listen: &str, config: Config) -> Handle {
        let config = Config {
            listen: vec![listen.parse().expect("an endpoint")],
            ..config
        };
        let start = || Server::bind(config).and_then(Server::spawn);
        self.at("server", start).expect("the server starts")
    }
}
