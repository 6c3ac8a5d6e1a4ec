package session

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"go.yaml.in/yaml/v3"
)

// Format is how results are printed: table, json or yaml.
type Format string

// The formats.
const (
	TableFormat Format = "table"
	JSONFormat  Format = "json"
	YAMLFormat  Format = "yaml"
)

// Formats are all formats.
var Formats = []string{string(TableFormat), string(JSONFormat), string(YAMLFormat)}

// String returns the format's name.
func (f *Format) String() string { return string(*f) }

// Type names the kind of value in help texts.
func (f *Format) Type() string { return strings.Join(Formats, "|") }

// Set takes a format off the command line.
func (f *Format) Set(name string) error {
	switch Format(name) {
	case TableFormat, JSONFormat, YAMLFormat:
		*f = Format(name)
		return nil
	}
	return fmt.Errorf("it is one of %s", strings.Join(Formats, ", "))
}

// Table is a result for people. Without a header it is a list of labels and
// values.
type Table struct {
	Header []string
	Rows   [][]string
}

// Add adds a row.
func (t *Table) Add(cells ...string) { t.Rows = append(t.Rows, cells) }

// Print writes a result in the wanted format: v for programs, t for people. A
// table of nothing prints nothing.
func (s *Session) Print(v any, t Table) error {
	var out []byte
	var err error
	switch s.Format {
	case JSONFormat:
		out, err = toJSON(v)
	case YAMLFormat:
		out, err = toYAML(v)
	case TableFormat:
		out = t.render()
	}
	if err != nil {
		return fmt.Errorf("print result: %w", err)
	}
	_, err = s.Out.Write(out)
	return err
}

func (t Table) render() []byte {
	if len(t.Rows) == 0 {
		return nil
	}
	w := table.NewWriter()
	w.SetStyle(table.Style{
		Box:     table.BoxStyle{PaddingRight: "   "},
		Format:  table.FormatOptions{Header: text.FormatUpper},
		Options: table.OptionsNoBordersAndSeparators,
	})
	w.SuppressTrailingSpaces()
	if len(t.Header) > 0 {
		w.AppendHeader(cells(t.Header))
	}
	for _, r := range t.Rows {
		w.AppendRow(cells(r))
	}
	return []byte(w.Render() + "\n")
}

func cells(words []string) table.Row {
	row := make(table.Row, len(words))
	for i, w := range words {
		row[i] = Clean(w)
	}
	return row
}

// toJSON indents v. Characters that a terminal would obey are escaped, which
// leaves the document the same.
func toJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(v)
	return escape(b.String(), func(c rune) string {
		if high, low := utf16.EncodeRune(c); c > 0xffff {
			return fmt.Sprintf(`\u%04x\u%04x`, high, low)
		}
		return fmt.Sprintf(`\u%04x`, c)
	}), err
}

// toYAML writes the JSON of v as YAML, so that both have the same names.
func toYAML(v any) ([]byte, error) {
	doc, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	root, err := yamlNode(d)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	err = e.Encode(root)
	return escape(b.String(), func(c rune) string { return fmt.Sprintf(`\U%08x`, c) }), err
}

// yamlNode reads one JSON value in its order. Texts are quoted: to some readers
// an id of hex digits is a number, and a VM called no is false.
func yamlNode(d *json.Decoder) (*yaml.Node, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case string:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: t, Style: yaml.DoubleQuotedStyle}, nil
	case json.Number:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: t.String()}, nil
	case json.Delim:
		return yamlNodes(d, t)
	}
	n := &yaml.Node{}
	return n, n.Encode(token) // true, false, null
}

// yamlNodes reads the rest of an array or an object.
func yamlNodes(d *json.Decoder, opened json.Delim) (*yaml.Node, error) {
	n := &yaml.Node{Kind: yaml.SequenceNode}
	if opened == '{' {
		n.Kind = yaml.MappingNode
	}
	for d.More() {
		child, err := yamlNode(d)
		if err != nil {
			return nil, err
		}
		if isName := n.Kind == yaml.MappingNode && len(n.Content)%2 == 0; isName {
			child.Style = 0
		}
		n.Content = append(n.Content, child)
	}
	_, err := d.Token()
	return n, err
}

func escape(doc string, as func(rune) string) []byte {
	var out bytes.Buffer
	for _, c := range doc {
		if c == '\n' || unicode.IsPrint(c) {
			out.WriteRune(c)
			continue
		}
		out.WriteString(as(c))
	}
	return out.Bytes()
}
