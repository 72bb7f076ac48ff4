//! DNS inside a sandbox, answered here from the list of what is allowed. No query ever leaves the machine; what is not on the
//! list does not exist. Addresses are synthetic, each name has its own, and a connection to another is not that name's.

use super::datagram;
use super::door::Door;
use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};
use policy::{DenialCode, EgressRules, HostName};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_util::sync::CancellationToken;

const TTL_SECS: u32 = 60;
const QUERY_BYTES_MAX: usize = 4096;
const TCP_WAIT: Duration = Duration::from_secs(5);
const TCP_QUERIES_MAX: usize = 64;
const PAUSE: Duration = Duration::from_millis(50);

/// What to send back, and the name that was refused, if it was.
struct Reply {
    bytes: Vec<u8>,
    refused: Option<String>,
}

/// Answers one query. Bytes in, bytes out; garbage gets no answer.
fn reply(query: &[u8], rules: &EgressRules) -> Option<Reply> {
    let query = Message::from_vec(query).ok()?;
    if query.metadata.message_type != MessageType::Query {
        return None;
    }
    let mut answer = Message::new(query.metadata.id, MessageType::Response, query.metadata.op_code);
    answer.metadata.recursion_desired = query.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    let mut refused = None;
    match query.queries.as_slice() {
        [question] if query.metadata.op_code == OpCode::Query && question.query_class() == DNSClass::IN => {
            let asked = question.name().to_utf8();
            match HostName::parse(&asked).ok().as_ref().and_then(|name| rules.address_of(name)) {
                Some(address) if question.query_type() == RecordType::A => {
                    answer.add_answer(Record::from_rdata(question.name().clone(), TTL_SECS, RData::A(A(address))));
                }
                // The name exists, but not in this kind (AAAA, HTTPS ...): an empty answer, not an error.
                Some(_) => {}
                None => {
                    answer.metadata.response_code = ResponseCode::NXDomain;
                    refused = Some(asked);
                }
            }
            answer.add_query(question.clone());
        }
        _ => answer.metadata.response_code = ResponseCode::Refused,
    }
    answer.to_vec().ok().map(|bytes| Reply { bytes, refused })
}

pub(super) async fn serve_udp(socket: std::net::UdpSocket, door: Door, stop: CancellationToken) {
    let socket = match socket.set_nonblocking(true).and_then(|()| UdpSocket::from_std(socket)) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(%error, "names can't be answered in a sandbox");
            return;
        }
    };
    loop {
        tokio::select! {
            done = exchange(&socket, &door) => if done.is_err() { tokio::time::sleep(PAUSE).await },
            () = stop.cancelled() => return,
        }
    }
}

/// One query and its answer, sent from the address that was asked.
async fn exchange(socket: &UdpSocket, door: &Door) -> std::io::Result<()> {
    let mut buffer = [0_u8; QUERY_BYTES_MAX];
    let asked = socket.async_io(Interest::READABLE, || datagram::receive(socket, &mut buffer)).await?;
    if door.gate.request().is_some() {
        return Ok(());
    }
    let Some(answer) = buffer.get(..asked.length).and_then(|query| reply(query, &door.hosts.rules)) else { return Ok(()) };
    socket.async_io(Interest::WRITABLE, || datagram::send_back(socket, &asked, &answer.bytes)).await?;
    if let Some(name) = answer.refused {
        door.refuse(DenialCode::EgressHost, &name).await;
    }
    Ok(())
}

pub(super) async fn serve_tcp(listener: TcpListener, door: Door, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            // One at a time: programs use TCP for names only when an answer was too long, which ours never are.
            Ok((stream, _)) => {
                let Some(_place) = door.admit() else { continue };
                let _ = tokio::time::timeout(TCP_WAIT, connection(stream, &door)).await;
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn connection(mut stream: TcpStream, door: &Door) -> std::io::Result<()> {
    for _ in 0..TCP_QUERIES_MAX {
        let length = usize::from(stream.read_u16().await?);
        let mut query = vec![0; length];
        stream.read_exact(&mut query).await?;
        if door.gate.request().is_some() {
            return Ok(());
        }
        let Some(answer) = reply(&query, &door.hosts.rules) else { return Ok(()) };
        let length = u16::try_from(answer.bytes.len()).map_err(std::io::Error::other)?;
        stream.write_u16(length).await?;
        stream.write_all(&answer.bytes).await?;
        if let Some(name) = answer.refused {
            door.refuse(DenialCode::EgressHost, &name).await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::Query;
    use hickory_proto::rr::Name;

    fn rules() -> EgressRules {
        let rule = policy::EgressRule {
            host: HostName::parse("hooks.example.com").expect("a name"),
            port: 443,
            scheme: policy::Scheme::Https,
            methods: vec!["POST".to_owned()],
            paths: vec![policy::PathPattern::parse("/x").expect("a path")],
            credential: None,
            danger_allow_private: false,
        };
        EgressRules::new(vec![rule]).expect("rules")
    }

    fn ask(name: &str, kind: RecordType) -> (ResponseCode, Vec<String>, Option<String>) {
        let mut query = Message::new(7, MessageType::Query, OpCode::Query);
        query.add_query(Query::query(Name::from_ascii(name).expect("a test name"), kind));
        let reply = reply(&query.to_vec().expect("encodable"), &rules()).expect("an answer");
        let answer = Message::from_vec(&reply.bytes).expect("decodable");
        assert_eq!(answer.metadata.id, 7);
        let addresses = answer.answers.iter().map(|record| record.data.to_string()).collect();
        (answer.metadata.response_code, addresses, reply.refused)
    }

    #[test]
    fn allowed_names_exist_each_with_an_address_and_nothing_else() {
        let provider = (ResponseCode::NoError, vec!["198.18.0.12".to_owned()], None);
        assert_eq!(ask("api.anthropic.com.", RecordType::A), provider);
        assert_eq!(ask("API.Anthropic.com.", RecordType::A), provider);
        assert_eq!(ask("model.hexward.internal.", RecordType::A).1, ["198.18.0.10"]);
        assert_eq!(ask("hooks.example.com.", RecordType::A).1, ["198.18.1.0"]);
        assert_eq!(ask("hooks.example.com.", RecordType::AAAA), (ResponseCode::NoError, vec![], None));
        assert_eq!(ask("tools.hexward.internal.", RecordType::A).1, ["198.18.0.11"]);
        assert_eq!(ask("api.anthropic.com.", RecordType::AAAA), (ResponseCode::NoError, vec![], None));
        for name in ["secret.attacker.example.", "example.com.", "x.hooks.example.com.", "localhost."] {
            let (code, addresses, refused) = ask(name, RecordType::TXT);
            assert_eq!((code, addresses.len()), (ResponseCode::NXDomain, 0), "{name}");
            assert_eq!(refused.as_deref(), Some(name));
        }
    }

    #[test]
    fn garbage_gets_no_answer() {
        let none = EgressRules::default();
        assert!(reply(b"", &none).is_none() && reply(&[0xff; 40], &none).is_none());
        let mut answer = Message::new(1, MessageType::Response, OpCode::Query);
        answer.add_query(Query::query(Name::root(), RecordType::A));
        assert!(reply(&answer.to_vec().expect("encodable"), &none).is_none(), "answers are not answered: no loops");
    }
}
