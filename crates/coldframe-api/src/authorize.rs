//! Who may do what to a function (service-api.md §2.12): in his own account everything that its
//! policy doesn't deny, in others what it allows.

use coldframe_store::Function;
use serde_json::Value;

use crate::access::policy::{Decision, Request, Who, decide};
use crate::caller::Caller;
use crate::function::{Named, Which};
use crate::{Call, Error, Service, model, policy};

impl Service {
    /// Decides on a request that names a function. Who is let into another account acts there.
    pub(crate) fn authorize(&self, call: &mut Call) -> Result<(), Error> {
        // The resource of a policy may be a function, too.
        let text = match call.label("FunctionName") {
            "" => call.label("ResourceArn"),
            name => name,
        };
        let Some(parts) = model::name::parts(text).filter(|_| !text.is_empty()) else {
            return Ok(());
        };
        if parts.region.is_some_and(|region| region != &*call.caller.region) {
            // Not reachable from here, whosever it is.
            return Ok(());
        }
        let mut arn = call.caller.arn(parts.name);
        let owner = parts.account.and_then(coldframe_core::AccountId::parse);
        let is_own = owner.as_ref().is_none_or(|owner| *owner == call.caller.account);
        if let Some(owner) = owner {
            arn.account = owner;
        }
        let qualifier = parts.qualifier.or_else(|| call.query("Qualifier")).map(str::to_owned);
        let named = Named { arn, qualifier };
        self.decide(&call.caller, &call.route.operation.name, &named, is_own)?;
        call.caller.account = named.arn.account;
        Ok(())
    }

    /// Decides on an operation that somebody wants of a function, of his own account or another.
    pub(crate) fn decide(
        &self,
        caller: &Caller,
        operation: &str,
        named: &Named,
        is_own: bool,
    ) -> Result<(), Error> {
        let function = self.store.function(&named.arn);
        let statements = function.as_deref().map_or(&[][..], |function| policy_of(function, named));
        let denies = statements.iter().any(|text| text.contains("Deny"));
        if is_own && !denies {
            return Ok(());
        }
        let action = match operation {
            "Invoke" | "InvokeWithResponseStream" | "InvokeAsync" => "InvokeFunction",
            operation => operation,
        };
        let action = format!("lambda:{action}");
        let resource = match named.which() {
            Which::Latest => named.arn.to_string(),
            _ => named.shown(),
        };
        let document: Value =
            serde_json::from_str(&policy::document(statements, None)).unwrap_or_default();
        let account = caller.account.as_str();
        let context =
            [("aws:PrincipalAccount", account), ("lambda:InvokedViaFunctionUrl", "false")];
        let request = Request {
            who: Who::Identity(&caller.identity),
            action: &action,
            resource: &resource,
            context: &context,
        };
        let because = match decide(&document, &request) {
            Decision::Deny => "with an explicit deny in a resource-based policy".to_owned(),
            Decision::Silent if !is_own => {
                format!("because no resource-based policy allows the {action} action")
            }
            Decision::Allow | Decision::Silent => {
                return Ok(());
            }
        };
        Err(Error::new(
            "AccessDeniedException",
            format!(
                "User: {} is not authorized to perform: {action} on resource: {resource} {because}",
                caller.identity
            ),
        ))
    }
}

/// The policy of what is named; nothing has none.
fn policy_of<'a>(function: &'a Function, named: &Named) -> &'a [String] {
    match named.which() {
        Which::Latest => &function.latest.policy,
        Which::Version(number) => {
            function.versions.get(&number).map_or(&[], |version| &version.policy)
        }
        Which::Alias(alias) => function.aliases.get(alias).map_or(&[], |alias| &alias.policy),
    }
}
