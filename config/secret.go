package config

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/offsite-backup/offsite/core"
)

// Secrets says where references to secrets lead.
type Secrets struct {
	Env     map[string]string // of {env: NAME}, and of the programs of {command: […]}
	Log     *slog.Logger      // told of a file that anybody may read, and by hooks; nil: nobody is
	Timeout time.Duration     // of one program; 0 means half a minute
}

// maxSecret bounds a secret: there are keys of some KiB.
const maxSecret = 64 << 10

// A reference says where a secret is. One of its fields is set.
type reference struct {
	env     string
	file    string
	command []string
}

const secretWant = "a secret is not written here but referred to: {env: NAME}, {file: PATH} or {command: [PROGRAM, ARGUMENT]}"

// secret reads a reference, and follows it where this is the time.
func (d *decoder) secret(key string, n *yaml.Node) core.Secret {
	before := len(d.errs)
	ref := d.reference(key, n)
	if len(d.errs) > before || d.resolve == nil {
		return core.Secret{}
	}
	s, err := d.resolve(ref)
	if err != nil {
		d.fail(n, key, "%s", err)
	}
	return s
}

// reference reads one. What stands in its place may be the secret itself, so
// nothing of it is repeated, not even a key.
func (d *decoder) reference(key string, n *yaml.Node) (ref reference) {
	if n.Kind != yaml.MappingNode || len(n.Content) != 2 {
		d.fail(n, key, secretWant)
		return ref
	}
	how, value := n.Content[0].Value, n.Content[1]
	switch {
	case how == "env" && isText(value) && variableText.MatchString(value.Value):
		ref.env = value.Value
	case how == "env":
		d.fail(value, key+".env", "is not the name of a variable, which has letters, digits and _, and no $")
	case how == "file" && isText(value) && filepath.IsAbs(value.Value):
		ref.file = value.Value
	case how == "file":
		d.fail(value, key+".file", "is not the path of a file, written in full; ~ is not expanded here")
	case how == "command":
		ref.command = d.program(key+".command", value)
	default:
		d.fail(n, key, secretWant)
	}
	return ref
}

func (d *decoder) program(key string, n *yaml.Node) (argv []string) {
	for _, word := range n.Content {
		if !isText(word) || strings.ContainsRune(word.Value, 0) {
			argv = nil
			break
		}
		argv = append(argv, word.Value)
	}
	switch {
	case n.Kind != yaml.SequenceNode || len(argv) == 0 || argv[0] == "":
		d.fail(n, key, "is not a list of a program and its arguments, each a text: [PROGRAM, ARGUMENT]; numbers are written in quotes")
	case filepath.Base(argv[0]) != argv[0] && !filepath.IsAbs(argv[0]):
		d.fail(n, key, "names a program by a path that is not written in full; ~ is not expanded here")
	default:
		return argv
	}
	return nil
}

// resolve follows a reference. The error holds nothing of what was found.
func (s Secrets) resolve(ctx context.Context, ref reference) (core.Secret, error) {
	value, what, err := "", "", error(nil)
	switch {
	case ref.env != "":
		what = "the variable " + ref.env
		found := false
		if value, found = s.Env[ref.env]; !found {
			err = fmt.Errorf("is not set")
		}
	case ref.file != "":
		what = ref.file
		value, err = s.read(ref.file)
	default:
		what = "the program " + ref.command[0]
		value, err = s.output(ctx, ref.command)
	}
	if value = cut(value); err == nil && value == "" {
		err = fmt.Errorf("gives an empty secret")
	}
	if err != nil {
		return core.Secret{}, fmt.Errorf("%s: %w", what, err)
	}
	return core.NewSecret(value), nil
}

// cut takes one newline off the end, as editors and programs write it.
func cut(s string) string {
	s, ended := strings.CutSuffix(s, "\n")
	if ended {
		s = strings.TrimSuffix(s, "\r")
	}
	return s
}

func (s Secrets) read(path string) (string, error) {
	data, info, err := readFile(path, maxSecret)
	if err != nil {
		return "", err
	}
	if unsafe := writable(info); unsafe != "" {
		return "", fmt.Errorf("%s: `chmod go-w` it", unsafe)
	}
	if s.Log != nil && readable(info) {
		s.Log.Warn("anybody on this machine may read the file of a secret", "file", path, "mode", modeOf(info))
	}
	return string(data), nil
}

func modeOf(info fs.FileInfo) string { return fmt.Sprintf("%04o", info.Mode().Perm()) }
