use std::time::Instant;

use tokio::net::{TcpListener, TcpSocket};

use super::*;

/// An address that never answers, while what is returned lives: its backlog is full.
async fn silent() -> (SocketAddr, impl Sized) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut taken = Vec::new();
    let full = Duration::from_millis(100);
    while let Ok(stream) = tokio::time::timeout(full, TcpStream::connect(address)).await {
        taken.push(stream.unwrap());
    }
    (address, (listener, taken))
}

async fn good() -> (SocketAddr, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (listener.local_addr().unwrap(), listener)
}

async fn refusing() -> SocketAddr {
    good().await.0
}

async fn dialed(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let race = race(addresses.to_vec());
    tokio::time::timeout(Duration::from_secs(20), race).await.expect("nothing was tried further")
}

#[tokio::test]
async fn silent_addresses_do_not_hide_a_good_one() {
    let (silent, _held) = silent().await;
    let (good, _listener) = good().await;
    let begin = Instant::now();
    let stream = dialed(&[silent, silent, good]).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap(), good);
    assert!(begin.elapsed() >= 2 * HEAD_START);
    // A connection that stands ends the rest.
    let stream = dialed(&[good, silent]).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap(), good);
}

#[tokio::test]
async fn who_refuses_costs_no_time_and_the_last_word_is_told() {
    let (good, _listener) = good().await;
    let mut addresses = vec![refusing().await; 20];
    let begin = Instant::now();
    let told = dialed(&addresses).await.unwrap_err();
    assert_eq!(told.kind(), io::ErrorKind::ConnectionRefused);
    assert!(begin.elapsed() < 10 * HEAD_START);
    addresses.push(good);
    assert_eq!(dialed(&addresses).await.unwrap().peer_addr().unwrap(), good);
    let told = dialed(&[]).await.unwrap_err();
    assert_eq!(told.kind(), io::ErrorKind::NotFound);
}

#[test]
fn families_take_turns() {
    let check = |given: &[&str], expected: &[&str]| {
        let parse = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        assert_eq!(ordered(parse(given)), parse(expected));
    };
    let [one, two, three] = ["1.1.1.1:1", "2.2.2.2:1", "3.3.3.3:1"];
    let [six, seven] = ["[::6]:1", "[::7]:1"];
    check(&[], &[]);
    check(&[one, two], &[one, two]);
    check(&[six, seven, one, two, three], &[six, one, seven, two, three]);
    check(&[one, six, two, seven], &[one, six, two, seven]);
    check(&[one, six, seven], &[one, six, seven]);
}
