//! A workflow as people write it, in JSON or YAML.
