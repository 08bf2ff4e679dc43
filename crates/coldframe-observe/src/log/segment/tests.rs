use super::*;

fn event(at: u64, text: &str) -> Record<'_> {
    Record::Event { stream: 7, at, ingested: at + 1, text }
}

fn records(list: &[Record<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for record in list {
        record.write(&mut bytes);
    }
    bytes
}

const STREAM: Record<'static> = Record::Stream { stream: 7, created: 3, name: "s" };

#[test]
fn records_are_read_as_they_were_written() {
    let list = [STREAM, event(5, "one"), event(4, ""), event(6, "drei\nZeilen\nä")];
    let bytes = records(&list);
    let read: Vec<_> = Records::new(&bytes).map(|(_, record)| record).collect();
    assert_eq!(read, list);
}

#[test]
fn a_torn_end_is_cut_wherever_it_was_torn() {
    let whole = records(&[STREAM, event(5, "one")]);
    let bytes = records(&[STREAM, event(5, "one"), event(6, "two")]);
    for torn in whole.len()..bytes.len() {
        let directory = tempfile::tempdir().unwrap();
        let path = Segment::path(directory.path(), 1, "log");
        fs::write(&path, &bytes[..torn]).unwrap();
        let mut loaded = Segment::load_all(directory.path()).unwrap();
        assert_eq!(loaded[0].index, Index::of(&whole));
        assert_eq!(fs::read(&path).unwrap(), whole);
        // And it goes on.
        loaded[0].append(&records(&[event(9, "three")])).unwrap();
        let read = fs::read(&path).unwrap();
        assert_eq!(Records::new(&read).count(), 3);
    }
}

#[test]
fn a_flipped_bit_costs_one_record() {
    let before = records(&[STREAM, event(5, "one")]).len();
    let mut bytes = records(&[STREAM, event(5, "one"), event(6, "two"), event(7, "three")]);
    bytes[before + HEAD_BYTES + 22] ^= 1;
    let times = |bytes: &[u8]| {
        Records::new(bytes)
            .filter_map(|(_, record)| match record {
                Record::Event { at, .. } => Some(at),
                Record::Stream { .. } => None,
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(times(&bytes), [5, 7]);
    let index = Index::of(&bytes);
    assert_eq!((index.length, index.parts[&7].span.events), (bytes.len() as u64, 2));
    // A length out of all reason is no reason to read on.
    bytes[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(Records::new(&bytes).count(), 0);
}

#[test]
fn the_written_index_is_the_one_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut segment = Segment::create(directory.path(), 1).unwrap();
    segment.append(&records(&[STREAM])).unwrap();
    for number in 0..5_000u64 {
        segment.append(&records(&[event(10_000 - number, &"x".repeat(40))])).unwrap();
    }
    assert!(segment.index.blocks.len() > 3);
    segment.seal().unwrap();
    let loaded = Segment::load_all(directory.path()).unwrap();
    assert_eq!(loaded[0].index, segment.index);
    fs::remove_file(Segment::path(directory.path(), 1, "idx")).unwrap();
    let loaded = Segment::load_all(directory.path()).unwrap();
    assert_eq!(loaded[0].index, segment.index);
    // Blocks lie without gaps and end where the file ends.
    let mut end = 0;
    for block in &loaded[0].index.blocks {
        assert_eq!(block.offset, end);
        end += block.length;
    }
    assert_eq!(u64::from(end), loaded[0].index.length);
}

#[test]
fn what_was_in_memory_goes_to_the_disk_later() {
    let directory = tempfile::tempdir().unwrap();
    let mut segment = Segment::in_memory(4);
    segment.append(&records(&[STREAM, event(5, "one")])).unwrap();
    let index = segment.index.clone();
    segment.persist(directory.path()).unwrap();
    assert!(!segment.is_in_memory());
    assert_eq!(Segment::load_all(directory.path()).unwrap()[0].index, index);
}
