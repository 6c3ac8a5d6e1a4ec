package api_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"github.com/cpucloud/cpucloud/internal/api"
)

var update = flag.Bool("update", false, "write the API document to api/")

// The published document is what the code serves.
func TestDocument(t *testing.T) {
	t.Parallel()
	current, older, err := api.Document()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]byte{"openapi.yaml": current, "openapi-3.0.yaml": older} {
		file := filepath.Join("..", "..", "api", name)
		if *update {
			if err := os.WriteFile(file, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != string(want) {
			t.Errorf("api/%s is not what the code gives (%v); run make generate", name, err)
		}
	}
}

// operations returns every operation of the document by its id.
func operations(doc *huma.OpenAPI) map[string]*huma.Operation {
	all := map[string]*huma.Operation{}
	for _, path := range doc.Paths {
		for _, op := range []*huma.Operation{path.Get, path.Post, path.Put, path.Patch, path.Delete} {
			if op != nil {
				all[op.OperationID] = op
			}
		}
	}
	return all
}

// Every operation shows a request and an answer, and they fit their schemas to
// the last member.
func TestExamples(t *testing.T) {
	t.Parallel()
	doc := api.OpenAPI()
	schemas := doc.Components.Schemas
	for _, schema := range schemas.Map() {
		schema.AdditionalProperties = false
		for name, property := range schema.Properties {
			if property.Type == huma.TypeObject && property.AdditionalProperties == nil && property.Ref == "" {
				t.Errorf("property %s is an object of any shape", name)
			}
		}
	}
	check := func(where string, mode huma.ValidateMode, media *huma.MediaType) {
		var example any
		text, _ := media.Example.(json.RawMessage)
		if err := json.Unmarshal(text, &example); err != nil {
			t.Errorf("%s: the example is no JSON: %v", where, err)
			return
		}
		result := &huma.ValidateResult{}
		huma.Validate(schemas, media.Schema, huma.NewPathBuffer(nil, 0), mode, example, result)
		for _, err := range result.Errors {
			t.Errorf("%s: the example does not fit its schema: %v", where, err)
		}
	}
	for id, op := range operations(doc) {
		if op.Summary == "" || len(op.Tags) != 1 {
			t.Errorf("%s has no summary or not one tag", id)
		}
		if op.RequestBody != nil {
			check(id+" request", huma.ModeWriteToServer, op.RequestBody.Content["application/json"])
		}
		for status, response := range op.Responses {
			if media := response.Content["application/json"]; media != nil {
				check(id+" "+status, huma.ModeReadFromServer, media)
			} else if status != "204" && status != "101" && response.Content["text/plain"] == nil {
				t.Errorf("%s %s shows no answer", id, status)
			}
		}
	}
}

// Both documents say what they are.
func TestDocumentVersions(t *testing.T) {
	t.Parallel()
	current, older, err := api.Document()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(current), "openapi: 3.1.0") || !strings.Contains(string(older), "openapi: 3.0.3") {
		t.Error("the documents don't name versions 3.1.0 and 3.0.3")
	}
}
