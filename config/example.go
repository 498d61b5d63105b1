package config

import (
	_ "embed"
	"slices"
)

//go:embed example.yaml
var example []byte

// Example is a configuration to begin with, of a web application with a database:
// every option stands in it, with a line that explains it. Options that are not
// for all stand behind a # without a space.
//
// It names agents of the kinds local and s3, and hooks of the kind command.
func Example() []byte { return slices.Clone(example) }
