use serde_json::{Value, json};
use skein_shared::domain::money::NanoDollars;
use skein_shared::domain::usage::Usage;

use super::*;

fn input_of(prices: &Prices, provider: &str, model: &str) -> Option<i64> {
    prices.of(provider, model).map(|price| price.at(1).input)
}

#[test]
fn every_price_that_is_part_of_the_program_is_read() {
    let document: Value = serde_json::from_str(include_str!("../prices.json")).unwrap();
    let prices = Prices::default();
    let mut count = 0;
    for (provider, models) in document["providers"].as_object().unwrap() {
        for (model, entry) in models.as_object().unwrap() {
            let of_model = prices.of(provider, model).unwrap_or_else(|| panic!("{model}"));
            let price = of_model.at(1);
            assert_eq!(entry["input"], price.input, "{model}");
            assert_eq!(entry["output"], price.output, "{model}");
            assert!(price.input > 0 && price.output > 0, "{model}");
            if let Some(tier) = entry.get("above") {
                let more = tier["tokens"].as_u64().unwrap() + 1;
                assert_eq!(tier["input"], of_model.at(more).input, "{model}");
            }
            count += 1;
        }
    }
    assert!(count > 100, "{count}");
}

#[test]
fn a_known_model_costs_what_its_provider_says() {
    let price = Prices::default().of("openai", "gpt-4o-mini").unwrap().at(100);
    // $0.15 and $0.60 for a million tokens.
    assert_eq!((price.input, price.output), (150_000_000, 600_000_000));
    let usage = Usage { input_tokens: 1_000_000, output_tokens: 1_000_000, ..Usage::default() };
    assert_eq!(price.cost(&usage), NanoDollars(750_000_000));
}

#[test]
fn a_date_at_the_end_of_a_name_is_left_out_where_that_is_clear() {
    let all = json!({"p": {
        "a": {"input": 1, "output": 1},
        "b-2024-07-18": {"input": 2, "output": 2},
        "c-20240718": {"input": 3, "output": 3},
        "d-20240718": {"input": 4, "output": 4},
        "d-20250101": {"input": 5, "output": 5},
        "e-20240718": {"input": 6, "output": 6},
        "e-20250101": {"input": 6, "output": 6},
    }});
    let prices = file::merge(&all, &Prices::default()).unwrap();
    let dollars = |model| input_of(&prices, "p", model).map(|nanos| nanos / 1_000_000_000);
    for (model, expected) in [
        ("a", Some(1)),
        ("a-2026-01-01", Some(1)),
        ("a-20260101", Some(1)),
        ("a-2026-01", None),
        ("a-latest", None),
        ("b", Some(2)),
        ("c", Some(3)),
        ("d", None),
        ("d-20250101", Some(5)),
        ("d-20260101", None),
        ("e", Some(6)),
        ("x", None),
        ("-20240718", None),
        ("é-0718", None),
    ] {
        assert_eq!(dollars(model), expected, "{model}");
    }
}

#[test]
fn the_price_of_long_inputs_is_reserved_as_soon_as_there_may_be_one_and_paid_where_there_is() {
    let prices = Prices::default();
    let price = prices.of("google", "gemini-2.5-pro").unwrap();
    let (short, long) = (price.at(200_000), price.at(200_001));
    assert_eq!((short.input, long.input), (1_250_000_000, 2_500_000_000));
    assert_eq!((price.at_most(200_000, 10), price.at_most(200_001, 10)), (short, long));
    // Long inputs need not cost more.
    let file = json!({"p": {"m": {"input": 3, "output": 3}}});
    let dear = file::merge(&file, &prices).unwrap().of("p", "m").unwrap().price;
    let odd = ModelPrice { price: dear, above: Some((200_000, short)) };
    assert_eq!((odd.at(200_001), odd.at_most(200_001, 10)), (short, dear));
}

#[test]
fn a_file_wins_and_a_gateway_has_prices_only_if_it_says_so() {
    let prices = Prices::default();
    assert_eq!(input_of(&prices, "gateway", "gpt-4o-mini"), None);
    let file = json!({
        "gateway": "openai",
        "openai": {"gpt-4o-mini": {"input": 0.1, "output": 0.2, "cache_read": 0.05}},
        "ollama": {"llama": {"input": 0, "output": 0}},
    });
    let prices = file::merge(&file, &prices).unwrap();
    assert_eq!(input_of(&prices, "gateway", "gpt-4o-mini"), Some(150_000_000));
    let price = prices.of("openai", "gpt-4o-mini").unwrap().at(1);
    let expected = Price {
        input: 100_000_000,
        output: 200_000_000,
        cache_read: 50_000_000,
        cache_write: 100_000_000,
    };
    assert_eq!(price, expected);
    assert_eq!(input_of(&prices, "openai", "gpt-4o"), Some(2_500_000_000));
    assert_eq!(input_of(&prices, "ollama", "llama"), Some(0));
}

#[test]
fn a_malformed_file_is_reported_by_place() {
    let cases = [
        (json!([]), "", "an object of providers is due"),
        (json!({"p": 1}), "/p", "no prices of a provider"),
        (json!({"p": "nobody"}), "/p", "no provider whose prices are part of the program"),
        (json!({"p": {"m/n": 3}}), "/p/m~1n", "a price is an object"),
        (json!({"p": {"m": {"input": 1}}}), "/p/m", "`output` is missing"),
        (json!({"p": {"m": {"input": "1", "output": 1}}}), "/p/m/input", "no price"),
        (json!({"p": {"m": {"input": -1, "output": 1}}}), "/p/m/input", "no price"),
        (json!({"p": {"m": {"input": 1, "output": 1, "cache": 1}}}), "/p/m/cache", "unknown field"),
    ];
    for (document, pointer, message) in cases {
        let diagnostics = file::merge(&document, &Prices::default()).unwrap_err();
        let found = diagnostics.iter().map(|it| (&*it.pointer, &*it.message)).collect::<Vec<_>>();
        assert_eq!(found, [(pointer, message)], "{document}");
    }
    let path = std::env::temp_dir().join(format!("skein_prices_{}", std::process::id()));
    std::fs::write(&path, "p:\n  m: {input: 1, outptu: 2}\n").unwrap();
    let args = PriceArgs { model_prices: Some(path.clone()) };
    let error = args.prices().unwrap_err().to_string();
    std::fs::remove_file(&path).unwrap();
    assert!(error.contains("SKEIN_MODEL_PRICES"), "{error}");
    assert!(error.contains("/p/m/outptu: unknown field (did you mean `output`?)"), "{error}");
    let error = args.prices().unwrap_err().to_string();
    assert!(error.contains("which cannot be used"), "{error}");
}
