package listing_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/cpucloud/cpucloud/internal/listing"
)

// TestSchema keeps the published schema a help to those who write the file:
// it is a valid one, closed, explained, and its examples are good ones.
func TestSchema(t *testing.T) {
	t.Parallel()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(listing.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	id := doc.(map[string]any)["$id"].(string)
	if err := c.AddResource(id, doc); err != nil {
		t.Fatal(err)
	}
	root := c.MustCompile(id)
	if root.DraftVersion != 2020 {
		t.Errorf("draft %d, want 2020-12", root.DraftVersion)
	}
	explained(t, "", root)
}

func explained(t *testing.T, path string, s *jsonschema.Schema) {
	t.Helper()
	if path != "" && (s.Description == "" || len(s.Examples) == 0) {
		t.Errorf("%s: description %q, %d examples", path, s.Description, len(s.Examples))
	}
	for _, example := range s.Examples {
		if err := s.Validate(example); err != nil {
			t.Errorf("%s: example %v: %v", path, example, err)
		}
	}
	for s.Ref != nil {
		s = s.Ref
	}
	if s.Types != nil && slices.Contains(s.Types.ToStrings(), "object") && s.AdditionalProperties != false {
		t.Errorf("%s lets any member through", path)
	}
	for name, p := range s.Properties {
		explained(t, path+"."+name, p)
	}
	if items := s.Items2020; items != nil && items.Ref != nil {
		explained(t, path+"[]", items.Ref)
	}
}
