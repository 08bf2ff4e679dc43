//! CBOR (RFC 8949), as far as `smithy-rpc-v2-cbor` goes.

use super::value::Value;

/// Values within one another: more are refused rather than the stack be overrun.
const DEPTH_MAX: usize = 32;

/// Reads one value; `None` if the bytes are none.
pub(crate) fn decode(bytes: &[u8]) -> Option<Value> {
    let mut reader = Reader { rest: bytes };
    let value = reader.value(0)?;
    reader.rest.is_empty().then_some(value)
}

struct Reader<'a> {
    rest: &'a [u8],
}

/// A head: the kind of a value, and its number; `None` for an indefinite length.
type Head = (u8, Option<u64>);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn head(&mut self) -> Option<(Head, u8)> {
        let first = self.take(1)?[0];
        let (major, info) = (first >> 5, first & 31);
        let number = match info {
            0..=23 => Some(info.into()),
            24..=27 => {
                let bytes = self.take(1 << (info - 24))?;
                Some(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
            }
            31 => None,
            _ => return None,
        };
        Some(((major, number), info))
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > DEPTH_MAX {
            return None;
        }
        let ((major, number), info) = self.head()?;
        Some(match major {
            0 => Value::Integer(i64::try_from(number?).ok()?),
            1 => Value::Integer(-1 - i64::try_from(number?).ok()?),
            2 | 3 => Value::Text(self.text(major, number)?),
            4 => {
                let mut list = Vec::new();
                while self.goes_on(number, list.len())? {
                    list.push(self.value(depth + 1)?);
                }
                Value::List(list)
            }
            5 => {
                let mut members = Vec::new();
                while self.goes_on(number, members.len())? {
                    let Value::Text(name) = self.value(depth + 1)? else { return None };
                    members.push((name, self.value(depth + 1)?));
                }
                Value::Structure(members)
            }
            6 => match (number?, self.value(depth + 1)?) {
                (1, Value::Integer(seconds)) => Value::Time(seconds as f64),
                (1, Value::Double(seconds)) => Value::Time(seconds),
                (_, value) => value,
            },
            _ => match (info, number?) {
                (20, _) => Value::Bool(false),
                (21, _) => Value::Bool(true),
                (22 | 23, _) => Value::Null,
                (25, bits) => Value::Double(half(bits as u16)),
                (26, bits) => Value::Double(f32::from_bits(bits as u32).into()),
                (27, bits) => Value::Double(f64::from_bits(bits)),
                _ => return None,
            },
        })
    }

    /// Whether one more element comes; takes the sign of the end.
    fn goes_on(&mut self, number: Option<u64>, so_far: usize) -> Option<bool> {
        match number {
            Some(number) => Some((so_far as u64) < number),
            None => {
                let ends = *self.rest.first()? == 0xff;
                if ends {
                    self.take(1)?;
                }
                Some(!ends)
            }
        }
    }

    fn text(&mut self, major: u8, length: Option<u64>) -> Option<String> {
        let mut bytes = Vec::new();
        match length {
            Some(length) => bytes.extend_from_slice(self.take(usize::try_from(length).ok()?)?),
            None => {
                while self.goes_on(None, 0)? {
                    let ((piece, length), _) = self.head()?;
                    if piece != major {
                        return None;
                    }
                    bytes.extend_from_slice(self.take(usize::try_from(length?).ok()?)?);
                }
            }
        }
        String::from_utf8(bytes).ok()
    }
}

/// A floating point number of 16 bits.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let value = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -value } else { value }
}

pub(crate) fn encode(value: &Value, to: &mut Vec<u8>) {
    match value {
        Value::Null => to.push(0xf6),
        Value::Bool(truth) => to.push(0xf4 + u8::from(*truth)),
        Value::Integer(number) if *number >= 0 => head(0, number.unsigned_abs(), to),
        Value::Integer(number) => head(1, !(*number as u64), to),
        Value::Double(number) => {
            to.push(0xfb);
            to.extend_from_slice(&number.to_be_bytes());
        }
        Value::Time(seconds) => {
            head(6, 1, to);
            encode(&Value::Double(*seconds), to);
        }
        Value::Text(text) => {
            head(3, text.len() as u64, to);
            to.extend_from_slice(text.as_bytes());
        }
        Value::List(list) => {
            head(4, list.len() as u64, to);
            for value in list {
                encode(value, to);
            }
        }
        Value::Structure(members) | Value::Map(members) => {
            head(5, members.len() as u64, to);
            for (name, value) in members {
                head(3, name.len() as u64, to);
                to.extend_from_slice(name.as_bytes());
                encode(value, to);
            }
        }
    }
}

fn head(major: u8, number: u64, to: &mut Vec<u8>) {
    let bytes = number.to_be_bytes();
    let (info, length) = match number {
        0..=23 => (number as u8, 0),
        24..=0xff => (24, 1),
        0x100..=0xffff => (25, 2),
        0x1_0000..=0xffff_ffff => (26, 4),
        _ => (27, 8),
    };
    to.push(major << 5 | info);
    to.extend_from_slice(&bytes[8 - length..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloudwatch::value::structure;

    #[test]
    fn what_is_written_is_read() {
        let value = structure([
            ("small", Value::Integer(23)),
            ("large", Value::Integer(1 << 40)),
            ("negative", Value::Integer(-500)),
            ("double", Value::Double(0.1)),
            ("time", Value::Time(1_764_000_000.25)),
            ("text", "ä".into()),
            ("list", Value::List(vec![Value::Bool(true), Value::Null])),
        ]);
        let mut bytes = Vec::new();
        encode(&value, &mut bytes);
        assert_eq!(decode(&bytes), Some(value));
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), None);
        }
    }

    // Examples of RFC 8949, appendix A.
    #[test]
    fn other_forms_are_read_as_well() {
        let check = |bytes: &[u8], value: Value| assert_eq!(decode(bytes), Some(value));
        check(&[0xf9, 0x3c, 0x00], Value::Double(1.0));
        check(&[0xf9, 0x00, 0x01], Value::Double(5.960_464_477_539_063e-8));
        check(&[0xfa, 0x47, 0xc3, 0x50, 0x00], Value::Double(100_000.0));
        check(&[0xc1, 0x1a, 0x51, 0x4b, 0x67, 0xb0], Value::Time(1_363_896_240.0));
        check(&[0x9f, 0x01, 0xff], Value::List(vec![Value::Integer(1)]));
        check(&[0x7f, 0x61, b'a', 0x61, b'b', 0xff], "ab".into());
        check(&[0xbf, 0x61, b'a', 0xf5, 0xff], structure([("a", Value::Bool(true))]));
        check(&[0x38, 0x63], Value::Integer(-100));
    }

    #[test]
    fn nothing_makes_it_fail_but_by_saying_so() {
        for bytes in [
            &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..],
            &[0x7b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0x3b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0x81; 10_000],
            &[0xc1; 10_000],
            &[0xff],
            &[0x1c],
            &[0xa1, 0x01, 0x01],
        ] {
            assert_eq!(decode(bytes), None);
        }
    }
}
