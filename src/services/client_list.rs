//! The client list of a Redis server: which connections belong to BullMQ workers, and to which queue.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The end of a connection's name when the worker has a name of its own, which follows.
const WORKER_NAME: &str = ":w:";

/// One connection, from a line of `CLIENT LIST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Client<'a> {
    /// Its number, which the server never uses again.
    pub(super) id: u64,
    /// Its name; empty if it has none.
    pub(super) name: &'a str,
    /// Its last command, in lower case.
    pub(super) command: &'a str,
}

/// A queue on which a worker is registered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Registration {
    /// The name of the queue.
    pub queue: String,
    /// The prefix of its keys.
    pub prefix: String,
}

impl std::fmt::Display for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` (prefix `{}`)", self.queue, self.prefix)
    }
}

/// The connections in the answer to `CLIENT LIST`.
pub(super) fn clients(list: &str) -> impl Iterator<Item = Client<'_>> {
    list.lines().filter_map(|line| {
        let field = |key: &str| line.split(' ').find_map(|field| field.strip_prefix(key));
        Some(Client {
            id: field("id=")?.parse().ok()?,
            name: field("name=").unwrap_or_default(),
            command: field("cmd=").unwrap_or_default(),
        })
    })
}

impl Client<'_> {
    /// Whether the name is `name`, with or without the worker's own name.
    pub(super) fn has_name(self, name: &str) -> bool {
        self.name.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(WORKER_NAME))
    }

    /// Whether its last command waits for a job: BullMQ 5 uses `BZPOPMIN`, earlier versions `BRPOPLPUSH`.
    pub(super) fn waits_for_job(self) -> bool {
        matches!(self.command, "bzpopmin" | "brpoplpush" | "blmove" | "blpop" | "brpop")
    }

    /// The queue that the name stands for: `<prefix>:<base64(queue)>` in BullMQ for Node, Rust and Elixir;
    /// `<prefix>:<queue>` in BullMQ for Python, where only a connection that waits for jobs counts, because any other
    /// program may use such a name too.
    pub(super) fn registration(self) -> Option<Registration> {
        let name = self.name.split_once(WORKER_NAME).map_or(self.name, |(name, _)| name);
        let (prefix, last) = name.rsplit_once(':').filter(|(prefix, last)| !prefix.is_empty() && !last.is_empty())?;
        let decoded = STANDARD.decode(last).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let decoded = decoded.filter(|queue| !queue.is_empty() && !queue.chars().any(char::is_control));
        let queue = decoded.or_else(|| self.waits_for_job().then(|| last.to_owned()))?;
        Some(Registration { queue, prefix: prefix.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn client<'a>(name: &'a str, command: &'a str) -> Client<'a> {
        Client { id: 1, name, command }
    }

    #[rstest]
    #[case::node("bull:ZG9jdW1lbnRz", "bzpopmin", Some(("documents", "bull")))]
    #[case::node_at_work("bull:ZG9jdW1lbnRz", "evalsha", Some(("documents", "bull")))]
    #[case::with_a_name_of_its_own("bull:ZG9jdW1lbnRz:w:first", "bzpopmin", Some(("documents", "bull")))]
    #[case::a_prefix_with_colons("app:v1:ZG9jdW1lbnRz", "bzpopmin", Some(("documents", "app:v1")))]
    #[case::python("bull:documents", "bzpopmin", Some(("documents", "bull")))]
    // Four letters are valid base64, but the bytes are no text.
    #[case::python_with_a_short_name("bull:docs", "bzpopmin", Some(("docs", "bull")))]
    #[case::another_program("app:documents", "get", None)]
    #[case::events_of_a_queue("bull:ZG9jdW1lbnRz:qe", "xread", None)]
    #[case::without_a_name("", "bzpopmin", None)]
    fn the_name_of_a_connection_tells_the_queue(
        #[case] name: &str,
        #[case] command: &str,
        #[case] wanted: Option<(&str, &str)>,
    ) {
        let wanted = wanted.map(|(queue, prefix)| Registration { queue: queue.into(), prefix: prefix.into() });
        assert_eq!(client(name, command).registration(), wanted);
    }

    #[test]
    fn connections_are_read_from_the_list() {
        let list = "id=3 addr=127.0.0.1:5 laddr=127.0.0.1:6 fd=8 name= age=1 idle=0 flags=N db=0 cmd=client|list user=default\n\
                    id=4 addr=127.0.0.1:7 laddr=127.0.0.1:6 fd=9 name=bull:ZG9jcw== age=1 idle=0 flags=b db=0 cmd=bzpopmin user=default\n";
        let wanted = [
            Client { id: 3, name: "", command: "client|list" },
            Client { id: 4, name: "bull:ZG9jcw==", command: "bzpopmin" },
        ];
        assert_eq!(clients(list).collect::<Vec<_>>(), wanted);
        assert!(wanted[1].has_name("bull:ZG9jcw==") && !wanted[1].has_name("bull:ZG9jcw"));
    }
}
