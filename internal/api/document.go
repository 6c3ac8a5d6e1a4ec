package api

import (
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// contractVersion is the version of the API, not of the program.
const contractVersion = "1.0.0"

const introduction = `Search a marketplace of independent providers, deploy virtual machines, and manage them through their life.

**Authentication.** Send your API key in the ` + "`X-API-KEY`" + ` header, or as ` + "`Authorization: Bearer <key>`" + `.

**Requests.** JSON. An optional member may be absent, null or empty: all mean the same. Unknown members are ignored. A body is at most 1 MiB.

**Dry runs.** Every operation that changes something takes ` + "`dryRun=true`" + `: everything is checked and worked out as ever, nothing changes, and the
answer, with the header ` + "`Cpucloud-Dry-Run: true`" + `, says what would have been.

**Answers.** JSON. Amounts are decimal strings in USDC with at most six decimals; times are RFC 3339 in UTC; an epoch is the billing
period of one VM, 24 hours from its activation unless the operator set another length. Every answer carries an ` + "`X-Request-Id`" + `.

**Errors.** Always ` + "`{\"error\": \"<sentence>\"}`" + `: 400 for what can't be read or has the wrong type, 403 for a missing or unknown API key,
404 for what isn't there or belongs to someone else, 409 for what contradicts an earlier request, 413 for a body that is too large,
422 for a value that isn't acceptable or that no offer can meet.`

func newDocument() *huma.OpenAPI {
	return &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title: "CPU Cloud", Version: contractVersion, Description: introduction,
			License: &huma.License{Name: "Apache-2.0", URL: "https://www.apache.org/licenses/LICENSE-2.0"},
		},
		Servers: []*huma.Server{{URL: "/", Description: "This server"}},
		Tags: []*huma.Tag{
			{Name: "Marketplace", Description: "What is on offer, and where."},
			{Name: "Virtual machines", Description: "Deploy, watch, change and delete VMs."},
			{Name: "SSH keys", Description: "Public keys that VMs can be deployed with."},
			{Name: "Account", Description: "The account that the API key belongs to."},
			{Name: "Billing", Description: "What moved the account's money, and what it was spent on."},
			{Name: "Providers", Description: "For those who sell: what is listed, servers, earnings. A provider is named by its name or id, a server too."},
			{Name: "Operation", Description: "For the marketplace's operator."},
			{Name: "Health", Description: "For load balancers and monitoring."},
		},
		Components: &huma.Components{
			Schemas:    huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
			Parameters: map[string]*huma.Param{dryRun: dryRunParameter},
			SecuritySchemes: map[string]*huma.SecurityScheme{
				"apiKey": {Type: "apiKey", In: "header", Name: "X-API-KEY", Description: "The API key."},
				"bearer": {Type: "http", Scheme: "bearer", Description: "The API key as a bearer token."},
			},
		},
		Security: []map[string][]string{{"apiKey": {}}, {"bearer": {}}},
	}
}

// describe writes an operation into the document.
func (a *api) describe(op operation, in, out reflect.Type) {
	schemas := a.document.Components.Schemas
	o := &huma.Operation{
		Method: op.method, Path: op.path, OperationID: op.id, Summary: op.summary, Description: op.text, Tags: []string{op.tag},
		Parameters: op.parameters(), Responses: map[string]*huma.Response{},
	}
	if in != reflect.TypeFor[none]() {
		o.RequestBody = &huma.RequestBody{Required: !op.optional, Content: content(schemas.Schema(in, true, op.id), op.request)}
	}
	success := &huma.Response{Description: http.StatusText(op.success())}
	if op.response != "" {
		success.Content = content(schemas.Schema(out, true, op.id), op.response)
	}
	if op.response == "" && len(op.others) > 0 {
		success.Content = map[string]*huma.MediaType{}
	}
	for _, kind := range op.others {
		success.Content[kind] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
	}
	o.Responses[strconv.Itoa(op.success())] = success
	if op.id == addSSHKey.id {
		o.Responses["200"] = &huma.Response{Description: "It was registered before.", Content: success.Content}
	}
	if op.planned {
		plan := content(schemas.Schema(reflect.TypeFor[deployPlan](), true, ""), examplePlan)
		if op.success() == http.StatusOK {
			success.Description += "; with dryRun a DeployPlan instead, as POST /v1/vms answers"
		} else {
			o.Responses["200"] = &huma.Response{Description: "With dryRun: what would have been.", Content: plan}
		}
	}
	for status, text := range op.allRefusals() {
		example, _ := json.Marshal(refusal{Error: text}) // a string always encodes
		o.Responses[strconv.Itoa(status)] = &huma.Response{
			Description: http.StatusText(status),
			Content:     content(schemas.Schema(reflect.TypeFor[refusal](), true, ""), string(example)),
		}
	}
	if op.access == public {
		o.Security = []map[string][]string{{}}
	}
	a.document.AddOperation(o)
}

func content(schema *huma.Schema, example string) map[string]*huma.MediaType {
	return map[string]*huma.MediaType{"application/json": {Schema: schema, Example: json.RawMessage(example)}}
}

// allRefusals adds what any operation may answer.
func (op operation) allRefusals() map[int]string {
	all := map[int]string{http.StatusInternalServerError: "internal error (request req_06abk5)"}
	switch op.access {
	case customer:
		all[http.StatusForbidden] = "Auth failed. No such API Key"
	case operator:
		all[http.StatusForbidden] = "this needs an operator's API key"
	case public:
	}
	if op.request != "" {
		all[http.StatusRequestEntityTooLarge] = "the body is larger than 1048576 bytes"
	}
	maps.Copy(all, op.refusals)
	return all
}

func (op operation) parameters() []*huma.Param {
	var list []*huma.Param
	add := func(in string, p parameter) {
		list = append(list, &huma.Param{
			Name: p.name, In: in, Description: p.text, Required: in == "path", Schema: &huma.Schema{Type: huma.TypeString}, Example: p.example,
		})
	}
	for _, p := range []parameter{
		{"provider", "Name or id of the provider.", "Nord"}, {"server", "Name or id of the server.", "nyc-1"}, {"id", "", "acc_06abk5"},
	} {
		if !strings.Contains(op.path, "{"+p.name+"}") {
			continue
		}
		switch {
		case p.name != "id":
		case strings.Contains(op.path, "vms/{id}"):
			p.example = exampleID
		case strings.Contains(op.path, "api-keys/{id}"):
			p.example = "key_06abk5"
		}
		add("path", p)
	}
	for _, p := range op.query {
		add("query", p)
	}
	if op.changes() {
		list = append(list, &huma.Param{Ref: dryRunReference})
	}
	for _, p := range op.headers {
		add("header", p)
	}
	return list
}

// tidy makes the schemas say what is true of all bodies: unknown members are
// ignored, and arrays are never null in answers.
func (a *api) tidy() {
	for _, schema := range a.document.Components.Schemas.Map() {
		schema.AdditionalProperties = nil
		for _, property := range schema.Properties {
			if property.Type == huma.TypeArray {
				property.Nullable = false
			}
		}
	}
	for _, path := range a.document.Paths {
		for _, o := range []*huma.Operation{path.Get, path.Post, path.Put} {
			if o == nil {
				continue
			}
			for _, response := range o.Responses {
				for _, media := range response.Content {
					media.Schema.Nullable = false
				}
			}
		}
	}
}

// Document returns the API's OpenAPI document as YAML, in version 3.1 and, for
// generators that read nothing newer, in version 3.0.3.
func Document() (current, older []byte, err error) {
	a := newAPI(nil, Config{})
	if current, err = a.document.YAML(); err != nil {
		return nil, nil, err
	}
	older, err = a.document.DowngradeYAML()
	return current, older, err
}
