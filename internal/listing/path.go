package listing

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Find returns a fault of the listing in text that is known by its path, such
// as one that the cloud found, with its place. A path into what the file leaves
// out gets the place of what it would be in.
func Find(name string, text []byte, path, message string) Fault {
	d := open(name, text)
	if d.root == nil {
		return Fault{name, 1, 1, path, message}
	}
	n := d.locate(steps(path))
	return Fault{name, max(n.Line, 1), max(n.Column, 1), path, message}
}

// locate returns the node of a path, or the innermost there is on the way.
func (d *document) locate(path []string) *yaml.Node {
	n := target(d.root)
	for _, step := range path {
		next := child(n, step)
		if next == nil {
			break
		}
		n = target(next)
	}
	return n
}

// child returns a member or an item, nil if there is none.
func child(n *yaml.Node, step string) *yaml.Node {
	if n.Kind == yaml.SequenceNode {
		i, err := strconv.Atoi(step)
		if err != nil || i < 0 || i >= len(n.Content) {
			return nil
		}
		return n.Content[i]
	}
	_, value := member(n, step)
	return value
}

// member returns a member of a mapping and its name's node, nil if there is none.
func member(n *yaml.Node, name string) (key, value *yaml.Node) {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if key := target(n.Content[i]); key.Kind == yaml.ScalarNode && key.Value == name {
			return n.Content[i], n.Content[i+1]
		}
	}
	return nil, nil
}

// items returns what is in a member that is a list.
func (d *document) items(list string) []*yaml.Node {
	_, n := member(target(d.root), list)
	if n = resolved(n); n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	all := make([]*yaml.Node, len(n.Content))
	for i, item := range n.Content {
		all[i] = target(item)
	}
	return all
}

// text returns a member that is a scalar, and its node.
func text(n *yaml.Node, name string) (string, *yaml.Node) {
	_, value := member(n, name)
	if value = resolved(value); value == nil || value.Kind != yaml.ScalarNode {
		return "", nil
	}
	return value.Value, value
}

func resolved(n *yaml.Node) *yaml.Node {
	if n == nil {
		return nil
	}
	return target(n)
}

// written returns a path as the cloud writes it: offers[1].prices.vcpu.
func written(path []string) string {
	var b strings.Builder
	for i, step := range path {
		switch _, err := strconv.Atoi(step); {
		case err == nil:
			b.WriteString("[" + step + "]")
		case i == 0:
			b.WriteString(step)
		default:
			b.WriteString("." + step)
		}
	}
	return b.String()
}

// steps is the reverse of written.
func steps(path string) []string {
	return strings.FieldsFunc(path, func(c rune) bool { return c == '.' || c == '[' || c == ']' })
}
