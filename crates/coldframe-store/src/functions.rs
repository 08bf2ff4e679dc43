//! Functions with their versions and aliases. One is a document, whose parts are written when they
//! are others than before.

use std::ops::Bound;
use std::sync::Arc;

use coldframe_core::FunctionArn;

use crate::backend::Part;
use crate::document::{Document, Malformed, set, shared_since};
use crate::{Error, Function, FunctionRecord, Store};

const LATEST: &str = "latest";
const SETTINGS: &str = "settings";
const VERSION: &str = "version/";
const ALIAS: &str = "alias/";

impl Document for Function {
    const KIND: &'static str = "function";
    type Key = FunctionArn;

    fn parts_since(&self, old: Option<&Self>) -> Result<Vec<Part>, Error> {
        let mut parts = Vec::new();
        if old.is_none_or(|old| !Arc::ptr_eq(&old.latest, &self.latest)) {
            parts.push(Part::json(LATEST.to_owned(), &*self.latest)?);
        }
        if old.is_none_or(|old| !Arc::ptr_eq(&old.settings, &self.settings)) {
            parts.push(Part::json(SETTINGS.to_owned(), &*self.settings)?);
        }
        let name = |number: &u64| format!("{VERSION}{number}");
        shared_since(old.map(|old| &old.versions), &self.versions, name, &mut parts)?;
        let name = |alias: &String| format!("{ALIAS}{alias}");
        shared_since(old.map(|old| &old.aliases), &self.aliases, name, &mut parts)?;
        Ok(parts)
    }

    fn with(old: Option<&Self>, parts: &[Part]) -> Result<Self, Malformed> {
        let mut latest = old.map(|old| old.latest.clone());
        let mut settings = old.map(|old| old.settings.clone());
        let mut versions = old.map(|old| old.versions.clone()).unwrap_or_default();
        let mut aliases = old.map(|old| old.aliases.clone()).unwrap_or_default();
        for part in parts {
            if part.name == LATEST {
                latest = part.parse()?.map(Arc::new);
            } else if part.name == SETTINGS {
                settings = part.parse()?.map(Arc::new);
            } else if let Some(number) = part.name.strip_prefix(VERSION) {
                let Ok(number) = number.parse() else { continue };
                set(&mut versions, number, part)?;
            } else if let Some(alias) = part.name.strip_prefix(ALIAS) {
                set(&mut aliases, alias.to_owned(), part)?;
            }
        }
        let latest = latest.ok_or(Malformed::Lacks(LATEST))?;
        let settings = settings.ok_or(Malformed::Lacks(SETTINGS))?;
        Ok(Self { latest, settings, versions, aliases })
    }
}

impl Store {
    /// The function with all that is of it.
    pub fn function(&self, arn: &FunctionArn) -> Option<Arc<Function>> {
        self.memory.functions.get(arn)
    }

    /// `$LATEST` of the function.
    pub fn get(&self, arn: &FunctionArn) -> Option<Arc<FunctionRecord>> {
        Some(self.function(arn)?.latest.clone())
    }

    /// Functions of an account and region in order of name, beginning behind `after`.
    pub fn list(&self, after: &FunctionArn, count: usize) -> Vec<(FunctionArn, Arc<Function>)> {
        self.of_namespace(Bound::Excluded(after), count)
    }

    /// As [`Store::list`], beginning with `first` itself.
    pub fn list_from(
        &self,
        first: &FunctionArn,
        count: usize,
    ) -> Vec<(FunctionArn, Arc<Function>)> {
        self.of_namespace(Bound::Included(first), count)
    }

    fn of_namespace(
        &self,
        begin: Bound<&FunctionArn>,
        count: usize,
    ) -> Vec<(FunctionArn, Arc<Function>)> {
        let (Bound::Included(of) | Bound::Excluded(of)) = begin else { return Vec::new() };
        let of_namespace = |arn: &FunctionArn| arn.account == of.account && arn.region == of.region;
        self.memory.functions.range((begin, Bound::Unbounded), of_namespace, count)
    }

    /// Every function of every account.
    pub fn all(&self) -> Vec<(FunctionArn, Arc<Function>)> {
        self.memory.functions.all()
    }

    /// Lets `decide` make, change or delete a function. Nothing else changes meanwhile; once it
    /// agrees, its change is on the disk, then seen. Blocks for the disk.
    ///
    /// # Errors
    /// What `decide` says, or that the disk failed: then nothing is changed.
    pub fn change<T, E: From<Error>>(
        &self,
        arn: &FunctionArn,
        decide: impl FnOnce(&mut Option<Function>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.change_document(|memory| &memory.functions, arn, decide)
    }
}
