// Package config reads the configuration of a deployment: one YAML file, which
// becomes agents to open and jobs to run.
//
//	agents:
//	  disk:    {local: /srv/backups}
//	  offsite: {s3: {bucket: acme-backups, prefix: web1}, limit: 10MiB}
//	jobs:
//	  web1:
//	    paths: [/var/lib/app]
//	    hooks:
//	      - name: pause
//	        command: {pre: [systemctl, stop, app], post: [systemctl, start, app]}
//	    to: [disk, offsite]
//
// An agent and a hook are one kind with its options, and beside it the options
// that all kinds have. [Example] explains each.
//
// # Options
//
// The options of a kind are the exported fields of the struct that it hands out,
// in snake_case: CABundle is ca_bundle. The type of a field says how it is
// written:
//
//	string                 text; a number or a date in quotes where it is meant as text
//	bool, *bool            true or false
//	int                    a number from 1
//	int64                  a size: bytes, or with B, KiB, MiB, GiB, TiB
//	time.Duration          a time: 10m, 1h30m, 30d
//	core.Secret            a reference to a secret
//	[]string               a list of texts
//	map[string]string      texts by name; so map[string]core.Secret
//	map[string]any         each a text (string) or a reference to a secret (core.Secret)
//
// The tag config of a field adds to it: "required"; "path", which must be absolute;
// "set", a list whose entries differ and are not empty; "-", no option at all. A
// field of another type is a mistake in the program, and panics.
//
// # Strict
//
// What is not known is an error, and so is a key that is there twice, an empty
// value, a second document, an anchor, an alias or a tag of YAML. Errors come
// together, each with line, column and key. There is no zero that means a default
// or no limit: whatever is default is left out. Nothing in a value is expanded,
// not $ and not ~, and paths are absolute, because who starts a program at night
// says little of where.
//
// # Secrets
//
// A secret is never written, but referred to: {env: NAME}, {file: PATH} or
// {command: [PROGRAM, ARGUMENT…]}. It is looked up when what needs it is opened,
// and one that is missing or empty is an error. No error repeats what stands where
// a reference should.
package config
