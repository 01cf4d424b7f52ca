"""Fine-tuning of all coalitions' adapters beside a loop of torch and peft over them."""
