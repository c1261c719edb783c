//! Which known word somebody probably meant.

/// The candidate closest to `word`, if any is close enough to be a likely slip.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let wanted = plain(word);
    if wanted.is_empty() {
        return None;
    }
    let distance_max = (wanted.chars().count() / 3).max(1);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let known = plain(candidate);
        let mut distance = strsim::osa_distance(&wanted, &known);
        let cut_short = wanted.len() >= 4 && known.starts_with(&wanted);
        let too_long = known.len() >= 4 && wanted.starts_with(&known);
        if distance > distance_max && (cut_short || too_long) {
            distance = distance_max;
        }
        if distance <= distance_max && best.is_none_or(|(shortest, _)| distance < shortest) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Case, `-` and `_` are what people get wrong most.
fn plain(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_slips_and_refuses_strangers() {
        let keys = ["numWorkers", "maxWorkers", "kind", "attributes", "kafka-cluster", "rabbit-mq"];
        let cases = [
            ("numworkers", Some("numWorkers")),
            ("num_workers", Some("numWorkers")),
            ("numWorker", Some("numWorkers")),
            ("atributes", Some("attributes")),
            ("attr", Some("attributes")),
            ("kidn", Some("kind")),
            ("kafka", Some("kafka-cluster")),
            ("rabbitmq", Some("rabbit-mq")),
            ("sqs", None),
            ("", None),
        ];
        for (word, wanted) in cases {
            assert_eq!(nearest(word, keys), wanted, "{word}");
        }
    }
}
