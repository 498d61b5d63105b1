package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/offsite-backup/offsite/core"
	"github.com/offsite-backup/offsite/core/option"
)

// A schema is a JSON schema: https://json-schema.org/draft/2020-12
type schema map[string]any

// Schema is the JSON schema of a configuration, made of the same types that Parse
// fills, for editors and other programs. It accepts all that Parse does; what one
// part of a file asks of another it cannot say.
func (ks Kinds) Schema() []byte {
	s := schema{
		"$schema":              "https://json-schema.org/draft/2020-12/schema",
		"title":                "The configuration of offsite",
		"type":                 "object",
		"properties":           schema{"agents": namedSchema("agent"), "jobs": namedSchema("job")},
		"required":             []string{"agents"},
		"additionalProperties": false,
		"$defs": schema{
			"agent":    ks.agentSchema(),
			"job":      jobSchema(),
			"hook":     ks.hookSchema(),
			"name":     schema{"type": "string", "pattern": nameText.String()},
			"secret":   secretSchema(),
			"duration": schema{"type": "string", "pattern": option.DurationPattern},
			"size":     either(schema{"type": "integer", "minimum": 1}, schema{"type": "string", "pattern": option.SizePattern}),
		},
	}
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		panic(err) // of maps, lists and texts
	}
	return append(text, '\n')
}

func either(all ...schema) schema { return schema{"anyOf": all} }

func ref(def string) schema { return schema{"$ref": "#/$defs/" + def} }

func namedSchema(def string) schema {
	return schema{"type": "object", "minProperties": 1, "propertyNames": ref("name"), "additionalProperties": ref(def)}
}

func (ks Kinds) agentSchema() schema {
	kinds := schema{}
	for _, k := range ks.Agents {
		kinds[k.Name] = object(reflect.TypeOf(k.Config()).Elem())
		if takesWord(k) {
			kinds[k.Name] = either(text(rule{path: true}), kinds[k.Name].(schema))
		}
	}
	return entry(reflect.TypeFor[AgentOptions](), kinds)
}

func (ks Kinds) hookSchema() schema {
	kinds := schema{}
	for _, k := range ks.Hooks {
		kinds[k.Name()] = object(reflect.TypeOf(k.Config()).Elem())
	}
	s := entry(reflect.TypeFor[HookOptions](), kinds)
	s["properties"].(schema)["name"] = ref("name")
	return s
}

func jobSchema() schema {
	s := object(reflect.TypeFor[Job]())
	s["anyOf"] = []schema{{"required": []string{"paths"}}, {"required": []string{"hooks"}}}
	return s
}

// entry is the schema of one kind, of several, with the options that all have.
func entry(common reflect.Type, kinds schema) schema {
	s, one := object(common), []schema{}
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		s["properties"].(schema)[name] = kinds[name]
		one = append(one, schema{"required": []string{name}})
	}
	if len(one) > 0 { // the list may not be empty
		s["oneOf"] = one
	}
	return s
}

func object(t reflect.Type) schema {
	properties, required := schema{}, []string{}
	for _, o := range option.Of(t) {
		r := ruleOf(o.Tag)
		properties[o.Name] = schemaOf(t.FieldByIndex(o.Index).Type, r)
		if r.required {
			required = append(required, o.Name)
		}
	}
	return schema{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
}

// schemaOf is the schema of what decoder.value reads.
func schemaOf(t reflect.Type, r rule) schema {
	switch t {
	case reflect.TypeFor[core.Secret]():
		return ref("secret")
	case reflect.TypeFor[time.Duration]():
		return ref("duration")
	case reflect.TypeFor[Hook]():
		return ref("hook")
	}
	switch t.Kind() {
	case reflect.String:
		return text(r)
	case reflect.Bool:
		return schema{"type": "boolean"}
	case reflect.Int:
		return schema{"type": "integer", "minimum": 1}
	case reflect.Int64:
		return ref("size")
	case reflect.Pointer:
		return schemaOf(t.Elem(), r)
	case reflect.Slice:
		r.empty = !r.set
		return schema{"type": "array", "minItems": 1, "uniqueItems": r.set, "items": schemaOf(t.Elem(), r)}
	case reflect.Map:
		return schema{"type": "object", "minProperties": 1, "propertyNames": text(rule{}), "additionalProperties": schemaOf(t.Elem(), rule{empty: true})}
	case reflect.Interface:
		return either(text(r), ref("secret"))
	case reflect.Struct:
		return object(t)
	}
	panic(fmt.Sprintf("config: no option can be of type %v", t))
}

func text(r rule) schema {
	switch {
	case r.path:
		return schema{"type": "string", "pattern": `^(/|\\|[A-Za-z]:)`} // absolute, on some system
	case r.empty:
		return schema{"type": "string"}
	}
	return schema{"type": "string", "minLength": 1}
}

func secretSchema() schema {
	one := func(how string, s schema) schema {
		return schema{"type": "object", "properties": schema{how: s}, "required": []string{how}, "additionalProperties": false}
	}
	argv := schema{"type": "array", "minItems": 1, "prefixItems": []schema{text(rule{})}, "items": schema{"type": "string"}}
	return schema{"oneOf": []schema{
		one("env", schema{"type": "string", "pattern": variableText.String()}),
		one("file", text(rule{path: true})),
		one("command", argv),
	}}
}
