package config

import (
	"encoding/json"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v4"
)

// appendJSON writes a node that was read without an error as JSON, which is YAML
// too: what it is written as is read back the same.
func appendJSON(b []byte, n *yaml.Node) []byte {
	switch n.Kind {
	case yaml.MappingNode:
		b = append(b, '{')
		for i, c := range n.Content {
			if b = appendJSON(b, c); i%2 == 0 {
				b = append(b, ':', ' ')
			} else if i+1 < len(n.Content) {
				b = append(b, ',', ' ')
			}
		}
		return append(b, '}')
	case yaml.SequenceNode:
		b = append(b, '[')
		for i, c := range n.Content {
			if i > 0 {
				b = append(b, ',', ' ')
			}
			b = appendJSON(b, c)
		}
		return append(b, ']')
	}
	if !isText(n) {
		return append(b, strings.ToLower(n.Value)...) // a number, or true or false
	}
	return appendText(b, n.Value)
}

// appendText keeps to ASCII: YAML does not take every character that JSON does.
// Those of more than 16 bits it does take, and has no other way for JSON's.
func appendText(b []byte, text string) []byte {
	quoted, _ := json.Marshal(text) // of a string it does not fail
	for _, r := range string(quoted) {
		if r >= 0x7F && r <= 0xFFFF {
			b = fmt.Appendf(b, `\u%04x`, r)
		} else {
			b = append(b, string(r)...)
		}
	}
	return b
}
