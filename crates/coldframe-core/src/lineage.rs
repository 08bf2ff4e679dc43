//! The functions that an invocation comes from, by the field `Lineage` of its tracing header: how a
//! loop of functions is seen (service-api.md §2.14). AWS's SDKs send the header they find in
//! `_X_AMZN_TRACE_ID` on, so it goes from function to function.
//!
//! ```text
//! Root=1-…;Parent=…;Sampled=0;Lineage=68fd508a:5|c512fbe3:2
//!                                     function:times it has been invoked in this chain
//! ```

use crate::FunctionArn;
use crate::event::field;

/// So often a function may be invoked in one chain. AWS: "Lambda recursive loop detection", about 16.
pub const HOPS_MAX: u32 = 16;

/// AWS: "RecursiveInvocationException".
pub const RECURSIVE_LOOP: &str = "Lambda has detected your function being invoked in a recursive loop with other Amazon Web Services resources and stopped your function's invocation.";

/// Functions that a lineage tells of; beyond these the first are forgotten.
const FUNCTIONS_MAX: usize = 64;

/// The header of one more invocation of the function. One that has no root is left as it is.
pub fn enter(header: &str, function: &FunctionArn) -> String {
    if field(header, "Root").is_none() {
        return header.to_owned();
    }
    let own = name(function);
    let times = hops(header, function).saturating_add(1);
    let lineage = field(header, "Lineage").unwrap_or_default();
    let is_other = |entry: &&str| !entry.is_empty() && of(entry, &own).is_none();
    let mut entries: Vec<&str> = lineage.split('|').filter(is_other).collect();
    let entry = format!("{own}:{times}");
    entries.push(&entry);
    let first = entries.len().saturating_sub(FUNCTIONS_MAX);
    let is_lineage =
        |part: &str| part.split_once('=').is_some_and(|(key, _)| key.trim() == "Lineage");
    let rest = header.split(';').filter(|part| !is_lineage(part));
    let rest: Vec<&str> = rest.collect();
    format!("{};Lineage={}", rest.join(";"), entries[first..].join("|"))
}

/// How often the function has been invoked in the chain that the header is of.
pub fn hops(header: &str, function: &FunctionArn) -> u32 {
    let own = name(function);
    let lineage = field(header, "Lineage").unwrap_or_default();
    lineage.split('|').find_map(|entry| of(entry, &own)).unwrap_or(0)
}

/// The times of an entry, if it is of this function.
fn of(entry: &str, own: &str) -> Option<u32> {
    entry.strip_prefix(own)?.strip_prefix(':')?.parse().ok()
}

/// Eight hex digits that stand for a function: FNV-1a of its ARN.
fn name(function: &FunctionArn) -> String {
    let hash = function
        .to_string()
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{hash:08x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AccountId;

    fn arn(name: &str) -> FunctionArn {
        FunctionArn {
            account: AccountId::default_account(),
            region: "eu-west-1".into(),
            name: name.into(),
        }
    }

    #[test]
    fn each_function_counts_for_itself() {
        let (f, g) = (arn("f"), arn("g"));
        let mut header = "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1".to_owned();
        assert_eq!(hops(&header, &f), 0);
        for times in 1..=3 {
            header = enter(&enter(&header, &f), &g);
            assert_eq!((hops(&header, &f), hops(&header, &g)), (times, times));
        }
        let lineage = field(&header, "Lineage").unwrap();
        assert_eq!(lineage, format!("{}:3|{}:3", name(&f), name(&g)));
        assert!(header.starts_with("Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1;Lineage="));
        assert_eq!(hops(&header, &arn("h")), 0);
    }

    #[test]
    fn what_others_wrote_stays() {
        let f = arn("f");
        let header = enter("Root=1-a;Lineage=25:3c7e85c2:4|x|;Parent=b", &f);
        assert_eq!(header, format!("Root=1-a;Parent=b;Lineage=25:3c7e85c2:4|x|{}:1", name(&f)));
        for odd in ["", "odd", "Parent=b;Lineage=a:1"] {
            assert_eq!(enter(odd, &f), odd);
        }
        let own = name(&f);
        for wrong in ["", ":", ":x", ":-1", ":99999999999"] {
            assert_eq!(hops(&format!("Root=1-a;Lineage={own}{wrong}"), &f), 0, "{wrong}");
        }
        let full = format!("Root=1-a;Lineage={own}:{}", u32::MAX);
        assert_eq!(hops(&enter(&full, &f), &f), u32::MAX);
    }

    #[test]
    fn a_lineage_ends_somewhere() {
        let mut header = "Root=1-a".to_owned();
        for number in 0..1000 {
            header = enter(&header, &arn(&format!("f{number}")));
        }
        assert!(header.len() < 1024, "{}", header.len());
        assert_eq!(hops(&header, &arn("f999")), 1);
        assert_eq!(hops(&header, &arn("f0")), 0);
    }
}
