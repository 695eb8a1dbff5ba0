//! Schemas that are taken together: all of them, one of several, none.

use super::{Check, TooMuch, Verdict};
use crate::json::{Kind, Value};
use crate::openapi::schema::{Discriminator, Logic, Schema, SchemaId};

impl Check<'_> {
    /// Whether a schema, or one that it is taken together with, names a property.
    pub(super) fn knows(&mut self, schema: &Schema, name: &str, depth: usize) -> Verdict {
        self.spend(1)?;
        if let Some(rules) = &schema.object {
            if rules.find(name, self.strictness.ignore_case).is_some() {
                return Ok(true);
            }
            for (pattern, _) in &rules.patterns {
                if self.finds(pattern, name)? {
                    return Ok(true);
                }
            }
        }
        let (Some(logic), true) = (&schema.logic, depth < 16) else { return Ok(false) };
        let choice = logic.choice.iter().flat_map(|(condition, then, otherwise)| {
            [Some(condition), then.as_ref(), otherwise.as_ref()].into_iter().flatten()
        });
        for id in logic.all.iter().chain(&logic.any).chain(&logic.one).chain(choice) {
            if self.knows(self.schemas.get(*id), name, depth + 1)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn logic(&mut self, logic: &Logic, value: Value<'_>) -> Verdict {
        let mut valid = true;
        for schema in &logic.all {
            valid &= self.value(*schema, value)?;
            if self.is_done(valid) {
                return Ok(false);
            }
        }
        if let Some(discriminator) = logic.discriminator.as_ref().filter(|one| !one.of_parent)
            && let Some(meant) = self.meant(discriminator, value)?
        {
            // Its mistakes say more than that no alternative takes the value.
            valid &= self.value(meant, value)?;
        } else {
            valid &= self.alternatives(logic, value)?;
        }
        if let Some(not) = logic.not
            && self.tried(not, value)?
        {
            valid = self.mistake(value, || "JSON is valid against schema from 'not'.".to_owned());
        }
        if let Some((condition, then, otherwise)) = logic.choice {
            let branch = if self.tried(condition, value)? { then } else { otherwise };
            if let Some(branch) = branch {
                valid &= self.value(branch, value)?;
            }
        }
        Ok(valid)
    }

    /// The schema made of this one that an object says it is. It brings this one along, which then is a part like others.
    pub(super) fn child(&mut self, schema: &Schema, value: Value<'_>) -> Result<Option<SchemaId>, TooMuch> {
        let discriminator = schema.logic.as_ref().and_then(|logic| logic.discriminator.as_ref());
        match discriminator.filter(|one| one.of_parent && self.told.last() != Some(&value.start())) {
            Some(discriminator) => self.meant(discriminator, value),
            None => Ok(None),
        }
    }

    /// The alternative that an object says it is. One that says it twice says nothing.
    fn meant(&mut self, discriminator: &Discriminator, value: Value<'_>) -> Result<Option<SchemaId>, TooMuch> {
        if value.kind() != Kind::Object {
            return Ok(None);
        }
        self.spend(value.size() as u64 / 16)?;
        let mut told = value.members().filter(|(name, _)| *name == *discriminator.property);
        let (Some((_, only)), None) = (told.next(), told.next()) else { return Ok(None) };
        let Some(text) = only.text() else { return Ok(None) };
        Ok(discriminator.mapping.iter().find(|(name, _)| **name == *text).map(|(_, id)| *id))
    }

    fn alternatives(&mut self, logic: &Logic, value: Value<'_>) -> Verdict {
        let mut valid = true;
        match &*logic.any {
            [] => {}
            // The mistakes of the only one say more.
            [only] => valid &= self.value(*only, value)?,
            several => {
                let mut taken = false;
                for schema in several {
                    if self.tried(*schema, value)? {
                        taken = true;
                        break;
                    }
                }
                if !taken {
                    valid = self.mistake(value, || "JSON does not match any schemas from 'anyOf'.".to_owned());
                }
            }
        }
        match &*logic.one {
            [] => {}
            [only] => valid &= self.value(*only, value)?,
            several => {
                let mut taken = 0;
                for schema in several {
                    taken += u32::from(self.tried(*schema, value)?);
                    if taken > 1 {
                        break;
                    }
                }
                if taken != 1 {
                    let how = if taken == 0 { "no schemas" } else { "more than one schema" };
                    valid = self.mistake(value, || format!("JSON is valid against {how} from 'oneOf'."));
                }
            }
        }
        Ok(valid)
    }
}
