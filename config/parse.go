package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// maxFile bounds a configuration. A parser makes some hundred bytes of each, in
// the worst case.
const maxFile = 256 << 10

// parse returns the mapping that a file holds.
func (d *decoder) parse(data []byte) *yaml.Node {
	if len(data) > maxFile {
		d.errs = append(d.errs, &Error{File: d.file, Text: fmt.Sprintf("has more than %d KiB, which is no configuration", maxFile>>10)})
		return nil
	}
	if !d.readable(data) {
		return nil
	}
	root := d.document(data)
	switch {
	case root == nil:
		return nil
	case root.Kind != yaml.MappingNode:
		d.fail(root, "", "the file is %s, not the mapping of agents and jobs", kindOf(root))
		return nil
	}
	d.plain(root)
	return root
}

// readable refuses what an editor does not show. YAML takes some of it for the end
// of a line, and lines would not be those that a person counts.
func (d *decoder) readable(data []byte) bool {
	line, column := 1, 0
	for rest := bytes.TrimPrefix(data, []byte("\uFEFF")); len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		rest = rest[size:]
		column++
		switch {
		case r == utf8.RuneError && size == 1:
			d.failAt(line, column, "is not UTF-8")
			return false
		case r == '\n':
			line, column = line+1, 0
		case r != '\t' && r != '\r' && (unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp)):
			d.failAt(line, column, fmt.Sprintf("has a character that cannot be seen, %U: write it in double quotes, as \"\\u%04x\"", r, r))
			return false
		}
	}
	return true
}

// document returns the root of the one document in data.
func (d *decoder) document(data []byte) *yaml.Node {
	var doc, next yaml.Node
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err == nil {
		err = loader.Load(&doc)
	}
	switch {
	case errors.Is(err, io.EOF):
		d.errs = append(d.errs, &Error{File: d.file, Text: "is empty: `offsite init` writes one to begin with"})
		return nil
	case err != nil:
		d.syntax(err)
		return nil
	}
	switch err := loader.Load(&next); {
	case err == nil:
		d.fail(&next, "", "a second document begins here; a configuration is one")
		return nil
	case !errors.Is(err, io.EOF):
		d.syntax(err)
		return nil
	}
	return doc.Content[0]
}

// syntax tells what the parser says. What it says of later stages may repeat what
// stands in the file, where a secret may stand by mistake.
func (d *decoder) syntax(err error) {
	e := (*yaml.LoadError)(nil)
	if !errors.As(err, &e) {
		d.errs = append(d.errs, &Error{File: d.file, Text: "is no YAML"})
		return
	}
	text := e.Message
	switch e.Stage {
	case yaml.ScannerStage, yaml.ParserStage:
		if e.ContextMsg != "" && e.ContextMark.Line > 0 {
			text = fmt.Sprintf("%s, %s from line %d", text, e.ContextMsg, e.ContextMark.Line)
		}
	default:
		text = "an alias of something that is not there; text that begins with * is written in quotes"
	}
	d.failAt(max(e.Mark.Line, 1), max(e.Mark.Column, 1), text)
}

// plain refuses what makes a file mean more than it shows, wherever it stands.
func (d *decoder) plain(n *yaml.Node) {
	switch {
	case n.Kind == yaml.AliasNode:
		d.fail(n, "", "aliases are not read: write it out; text that begins with * is written in quotes")
	case n.Anchor != "":
		d.fail(n, "", "anchors are not read: write it out; text that begins with & is written in quotes")
	case n.Style&yaml.TaggedStyle != 0:
		d.fail(n, "", "tags are not read: leave it out; text that begins with ! is written in quotes")
	}
	for _, c := range n.Content {
		d.plain(c)
	}
}

// kindOf says what a node is, for a person.
func kindOf(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "empty"
	case n.Tag == "!!int" || n.Tag == "!!float":
		return "a number"
	case n.Tag == "!!bool":
		return "true or false"
	}
	return "text"
}

// isText says whether a node is text as it stands there. What some read as a date
// or as a merge is.
func isText(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && kindOf(n) == "text"
}

// child is the value of a key of a mapping, or nil.
func child(n *yaml.Node, name string) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1]
		}
	}
	return nil
}

// items are the entries of a list that is the value of a key of a mapping.
func items(n *yaml.Node, name string) []*yaml.Node {
	if c := child(n, name); c != nil && c.Kind == yaml.SequenceNode {
		return c.Content
	}
	return nil
}

// join adds a name to a key.
func join(key, name string) string {
	name = clip(name)
	if !simple.MatchString(name) {
		name = fmt.Sprintf("%q", name)
	}
	return strings.TrimPrefix(key+"."+name, ".")
}
