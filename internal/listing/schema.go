package listing

import (
	"bytes"
	_ "embed" // the schema
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

//go:embed offers.schema.json
var schemaText []byte

// schemaID names the schema. Nothing is fetched from there.
const schemaID = "https://cpucloud.dev/schemas/offers.json"

// Schema returns the JSON Schema of the file, for editors.
func Schema() []byte { return bytes.Clone(schemaText) }

var compiled = sync.OnceValues(func() (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schemaText))
	if err != nil {
		return nil, fmt.Errorf("read schema: %w", err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(schemaID, doc); err != nil {
		return nil, fmt.Errorf("add schema: %w", err)
	}
	return c.Compile(schemaID)
})

// checkSchema adds what the schema finds. Of a value that has a fault already
// nothing more is said.
func (d *document) checkSchema(value any) {
	schema, err := compiled()
	if err != nil {
		d.fault(d.root, "", err.Error())
		return
	}
	err = schema.Validate(value)
	if found, ok := errors.AsType[*jsonschema.ValidationError](err); ok {
		d.violations(schema, found)
	} else if err != nil {
		d.fault(d.root, "", err.Error())
	}
}

// violations adds the innermost causes.
func (d *document) violations(schema *jsonschema.Schema, v *jsonschema.ValidationError) {
	for _, cause := range v.Causes {
		d.violations(schema, cause)
	}
	if len(v.Causes) > 0 {
		return
	}
	at := v.InstanceLocation
	if k, ok := v.ErrorKind.(*kind.AdditionalProperties); ok {
		for _, name := range k.Properties {
			key, _ := member(d.locate(at), name)
			if path := written(below(at, name)); key != nil && !d.faulty(path) {
				d.fault(key, path, "there is no such member"+known(describe(schema, at)))
			}
		}
		return
	}
	if path := written(at); !d.faulty(path) {
		d.fault(d.locate(at), path, violation(v.ErrorKind, describe(schema, at)))
	}
}

func (d *document) faulty(path string) bool {
	return slices.ContainsFunc(d.faults, func(f Fault) bool { return f.Path == path && path != "" })
}

// violation says what is wrong with a value, and what it should be.
func violation(k jsonschema.ErrorKind, s *jsonschema.Schema) string {
	switch k := k.(type) {
	case *kind.Required:
		return "it has to have " + strings.Join(k.Missing, ", ")
	case *kind.Type:
		return ofType(k)
	case *kind.Enum:
		words := make([]string, len(k.Want))
		for i, w := range k.Want {
			words[i] = fmt.Sprint(w)
		}
		return "it has to be one of " + strings.Join(words, ", ")
	case *kind.Minimum:
		return "it has to be " + k.Want.RatString() + " or more"
	case *kind.Maximum:
		return "it has to be " + k.Want.RatString() + " or less"
	case *kind.MinLength:
		return "it must not be empty"
	case *kind.MaxLength:
		return fmt.Sprintf("it is longer than %d characters", k.Want)
	case *kind.MaxItems:
		return fmt.Sprintf("these are %d, more than %d", k.Got, k.Want)
	case *kind.UniqueItems:
		return fmt.Sprintf("the items %d and %d are the same", k.Duplicates[0]+1, k.Duplicates[1]+1)
	case *kind.Pattern:
		return fmt.Sprintf("%q can't be taken. %s", k.Got, s.Description)
	}
	return (&jsonschema.OutputError{Kind: k}).String()
}

// ofType says what a value should be instead.
func ofType(k *kind.Type) string {
	switch want := k.Want[0]; {
	case want == "array" && k.Got == "null":
		return "it has to be a list; write [] for none"
	case want == "array":
		return "it has to be a list"
	case want == "object":
		return "it has to be members with values, not " + noun(k.Got)
	case want == "integer":
		return "it has to be a whole number"
	case len(k.Want) > 1:
		return "it has to be a decimal number, not " + noun(k.Got)
	case k.Got == "null":
		return "it has no value"
	case k.Got == "array" || k.Got == "object":
		return "it has to be text, not " + noun(k.Got)
	}
	return "it has to be text: write it in quotes"
}

func noun(jsonType string) string {
	return map[string]string{
		"null": "nothing", "array": "a list", "object": "members", "boolean": "true or false", "number": "a number", "string": "text",
	}[jsonType]
}

// describe returns the schema of what is at an instance location.
func describe(s *jsonschema.Schema, at []string) *jsonschema.Schema {
	for _, step := range at {
		for s.Ref != nil {
			s = s.Ref
		}
		next := s.Properties[step]
		if _, err := strconv.Atoi(step); err == nil && s.Items2020 != nil {
			next = s.Items2020
		}
		if next == nil {
			return s
		}
		s = next
	}
	for s.Ref != nil && s.Description == "" {
		s = s.Ref
	}
	return s
}

// known lists the members that there are instead.
func known(s *jsonschema.Schema) string {
	for s.Ref != nil {
		s = s.Ref
	}
	names := make([]string, 0, len(s.Properties))
	for name := range s.Properties {
		names = append(names, name)
	}
	slices.Sort(names)
	return "; there are " + strings.Join(names, ", ")
}
