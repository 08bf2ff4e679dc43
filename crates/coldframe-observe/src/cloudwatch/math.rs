//! Metric math, as far as rates go: `+ - * /`, parentheses, numbers, and the ids of other queries.

/// Expressions within one another.
const DEPTH_MAX: usize = 32;

/// Times, ms, and values.
pub(crate) type Points = Vec<(u64, f64)>;

/// A number is the same at every time.
#[derive(Clone)]
enum Series {
    Number(f64),
    Points(Points),
}

/// Works an expression out; `known` gives the points of an id.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub(crate) fn evaluate(
    expression: &str,
    known: &dyn Fn(&str) -> Option<Points>,
) -> Result<Points, String> {
    let mut parser = Parser { rest: expression.trim_start(), known, depth: 0 };
    let series = parser.sum()?;
    if !parser.rest.is_empty() {
        return Err(format!("unexpected '{}'", parser.rest.chars().take(20).collect::<String>()));
    }
    match series {
        Series::Points(points) => Ok(points),
        Series::Number(_) => Err("the expression has no metric in it".to_owned()),
    }
}

struct Parser<'a> {
    rest: &'a str,
    known: &'a dyn Fn(&str) -> Option<Points>,
    depth: usize,
}

impl Parser<'_> {
    fn take(&mut self, sign: char) -> bool {
        let Some(rest) = self.rest.strip_prefix(sign) else { return false };
        self.rest = rest.trim_start();
        true
    }

    fn sum(&mut self) -> Result<Series, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("too many parentheses".to_owned());
        }
        let mut sum = self.product()?;
        loop {
            if self.take('+') {
                sum = join(sum, self.product()?, |a, b| a + b);
            } else if self.take('-') {
                sum = join(sum, self.product()?, |a, b| a - b);
            } else {
                self.depth -= 1;
                return Ok(sum);
            }
        }
    }

    fn product(&mut self) -> Result<Series, String> {
        let mut product = self.operand()?;
        loop {
            if self.take('*') {
                product = join(product, self.operand()?, |a, b| a * b);
            } else if self.take('/') {
                product = join(product, self.operand()?, |a, b| a / b);
            } else {
                return Ok(product);
            }
        }
    }

    fn operand(&mut self) -> Result<Series, String> {
        if self.take('(') {
            let sum = self.sum()?;
            return if self.take(')') { Ok(sum) } else { Err("a ')' is missing".to_owned()) };
        }
        let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        let end = self.rest.find(|c| !good(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        if word.is_empty() {
            return Err("an operand is missing".to_owned());
        }
        if self.rest.starts_with('(') {
            return Err(format!("the function {word} is not supported"));
        }
        if let Ok(number) = word.parse::<f64>() {
            return Ok(Series::Number(number));
        }
        let points = (self.known)(word).ok_or_else(|| format!("undefined variable '{word}'"))?;
        Ok(Series::Points(points))
    }
}

/// Where both have a value; what can't be divided has none.
fn join(left: Series, right: Series, join: impl Fn(f64, f64) -> f64) -> Series {
    let points: Vec<(u64, f64)> = match (left, right) {
        (Series::Number(left), Series::Number(right)) => {
            return Series::Number(join(left, right));
        }
        (Series::Points(left), Series::Number(right)) => {
            left.into_iter().map(|(at, left)| (at, join(left, right))).collect()
        }
        (Series::Number(left), Series::Points(right)) => {
            right.into_iter().map(|(at, right)| (at, join(left, right))).collect()
        }
        (Series::Points(left), Series::Points(right)) => left
            .into_iter()
            .filter_map(|(at, left)| {
                let index = right.binary_search_by_key(&at, |(at, _)| *at).ok()?;
                Some((at, join(left, right[index].1)))
            })
            .collect(),
    };
    Series::Points(points.into_iter().filter(|(_, value)| value.is_finite()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_worked_out() {
        let known = |id: &str| match id {
            "errors" => Some(vec![(1, 1.0), (2, 0.0), (3, 5.0)]),
            "all" => Some(vec![(1, 4.0), (2, 0.0), (4, 1.0)]),
            _ => None,
        };
        let check = |text: &str, points: &[(u64, f64)]| {
            assert_eq!(evaluate(text, &known).as_deref(), Ok(points), "{text}");
        };
        check("errors / all * 100", &[(1, 25.0)]);
        check("100*(1-errors/all)", &[(1, 75.0)]);
        check("errors + 1", &[(1, 2.0), (2, 1.0), (3, 6.0)]);
        for bad in ["", "1", "errors +", "(errors", "nobody", "SUM(errors)", "errors errors"] {
            assert!(evaluate(bad, &known).is_err(), "{bad}");
        }
        assert!(evaluate(&"(".repeat(100_000), &known).is_err());
    }
}
