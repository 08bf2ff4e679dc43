use super::*;

async fn part(stream: &mut Box<dyn ResponseStream>) -> StreamPart {
    std::future::poll_fn(|context| stream.poll_part(context)).await
}

fn failed(code: &str) -> StreamEnd {
    let error = StreamError { code: code.to_owned(), details: "{}".to_owned() };
    StreamEnd { error: Some(error), log_tail: None }
}

#[tokio::test]
async fn chunks_come_before_the_end_whatever_is_told_first() {
    let (sender, receiver) = channel();
    sender.begin(Some("text/x".into()));
    assert!(sender.send(Bytes::from_static(b"a")).await);
    assert!(sender.send(Bytes::from_static(b"b")).await);
    sender.complete(failed("X"));
    sender.complete(StreamEnd::default());
    let StreamedAnswer { content_type, mut stream } = receiver.begun().await.ok().unwrap();
    assert_eq!(content_type.as_deref(), Some("text/x"));
    assert_eq!(part(&mut stream).await, StreamPart::Chunk(Bytes::from_static(b"a")));
    assert_eq!(part(&mut stream).await, StreamPart::Chunk(Bytes::from_static(b"b")));
    assert_eq!(part(&mut stream).await, StreamPart::Complete(failed("X")));
    // An upload that goes on has nobody to send to.
    assert!(!sender.send(Bytes::from_static(b"c")).await);
}

#[tokio::test]
async fn an_end_before_the_beginning_begins() {
    let (sender, receiver) = channel();
    sender.complete(failed("Unhandled"));
    let mut stream = receiver.begun().await.ok().unwrap().stream;
    assert_eq!(part(&mut stream).await, StreamPart::Complete(failed("Unhandled")));
}

#[tokio::test]
async fn refusals_and_abandoned_streams_are_told() {
    let (sender, receiver) = channel();
    sender.refuse(Refusal::Draining);
    assert_eq!(receiver.begun().await.err(), Some(Refusal::Draining));

    let (sender, receiver) = channel();
    drop(sender);
    assert!(matches!(receiver.begun().await.err(), Some(Refusal::Platform(_))));

    let (sender, receiver) = channel();
    sender.begin(None);
    drop(sender);
    let mut stream = receiver.begun().await.ok().unwrap().stream;
    let StreamPart::Complete(end) = part(&mut stream).await else { panic!("an end") };
    assert_eq!(end.error.unwrap().code, "Sandbox.Failure");
}

#[tokio::test]
async fn a_caller_who_goes_away_is_noticed() {
    let (sender, receiver) = channel();
    drop(receiver);
    assert!(!sender.send(Bytes::from_static(b"a")).await);
    sender.complete(StreamEnd::default());
}

// Spec: execution-environment.md §9.5 and R4: 10 MiB take 2 s, 6 MiB none.
#[tokio::test(start_paused = true)]
async fn ee_r4_the_rate_is_aws() {
    const MIB: usize = 1024 * 1024;
    let began = Instant::now();
    let mut bucket = Bucket::new(Rate::default());
    for _ in 0..6 {
        bucket.take(MIB).await;
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    for _ in 0..4 {
        bucket.take(MIB).await;
    }
    assert_eq!(began.elapsed().as_millis(), 2000);
    // A pause fills it again, up to the burst.
    tokio::time::sleep(Duration::from_secs(100)).await;
    let began = Instant::now();
    bucket.take(bucket.part_bytes_max()).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    bucket.take(1).await;
    assert!(began.elapsed() > Duration::ZERO);
}
