package bankfile_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// schemas is a Go module that carries the schemas of ISO 20022, with the sums
// that it must have. Nothing of it is compiled: its types hold amounts as
// floats.
const (
	schemas    = "github.com/moov-io/iso20022"
	schemasAt  = "v0.2.1"
	schemasSum = schemas + " " + schemasAt + " h1:DxghLeyQheunSWxOXrdMNJZxHMkTFEfRNqIcUBd2fvM=\n" +
		schemas + " " + schemasAt + "/go.mod h1:ufXUMd4YpadzUo4YJB3QO9rAca6muy8xtUOnKegrCjg=\n"
)

// schemaFiles are where it has those of our documents, by message.
var schemaFiles = map[string]string{
	"pain.001.001.10": "docs/specifications/payments_initiation_11/pain.001.001.10_1.xsd",
	"pain.008.001.09": "docs/specifications/payments_initiation_11/pain.008.001.09.xsd",
	"pain.002.001.11": "docs/specifications/payments_initiation_11/pain.002.001.11.xsd",
	"camt.053.001.08": "docs/specifications/banktocustomer_cash_management_8/camt.053.001.08.xsd",
	"camt.054.001.08": "docs/specifications/banktocustomer_cash_management_8/camt.054.001.08.xsd",
}

// schemaFile returns the path of a schema. It comes from the module cache, and
// into it by the network where it is not there yet, as every module does.
func schemaFile(t *testing.T, message string) string {
	t.Helper()
	folder := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module schemas\n\ngo 1.26\n", "go.sum": schemasSum} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.Command("go", "mod", "download", "-json", schemas+"@"+schemasAt)
	command.Dir = folder
	command.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	output, err := command.Output()
	var module struct{ Dir, Error string }
	if decoding := json.Unmarshal(output, &module); err != nil || decoding != nil || module.Dir == "" {
		t.Fatalf("the schemas of ISO 20022 are missing: they come with the Go module %s@%s, which could not be downloaded: %v %s", schemas, schemasAt, err, module.Error)
	}
	path := filepath.Join(module.Dir, filepath.FromSlash(schemaFiles[message]))
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("the schema of %s is missing from the Go module %s@%s: %v", message, schemas, schemasAt, err)
	}
	return path
}

// validate has xmllint compare documents with the schema of a message.
func validate(t *testing.T, message string, documents ...[]byte) (findings string, valid bool) {
	t.Helper()
	if _, err := exec.LookPath("xmllint"); err != nil {
		t.Fatal("xmllint is missing, which compares documents with their schemas: run make tools (on Debian, apt-get install libxml2-utils)")
	}
	folder := t.TempDir()
	arguments := []string{"--noout", "--nonet", "--schema", schemaFile(t, message)}
	for k, document := range documents {
		path := filepath.Join(folder, fmt.Sprintf("%d.xml", k))
		if err := os.WriteFile(path, document, 0o600); err != nil {
			t.Fatal(err)
		}
		arguments = append(arguments, path)
	}
	output, err := exec.Command("xmllint", arguments...).CombinedOutput()
	return string(output), err == nil
}

// isoOf returns a document of SEPA as one of the next version of ISO 20022. The
// module has no schema of pain.001.001.09 and pain.008.001.08. What we write is
// the same in both but for the namespace.
func isoOf(t *testing.T, document []byte) []byte {
	t.Helper()
	for from, to := range map[string]string{"pain.001.001.09": "pain.001.001.10", "pain.008.001.08": "pain.008.001.09"} {
		if bytes.Contains(document, []byte(from)) {
			return bytes.Replace(document, []byte(from), []byte(to), 1)
		}
	}
	t.Fatalf("no document of SEPA: %.200s", document)
	return nil
}

func wantValid(t *testing.T, message string, documents ...[]byte) {
	t.Helper()
	if findings, valid := validate(t, message, documents...); !valid {
		t.Errorf("not as the schema of %s wants it:\n%.4000s", message, findings)
	}
}

func TestDocumentsFitTheirSchemas(t *testing.T) {
	var transfers, debits [][]byte
	for _, c := range []struct{ debtorBIC, creditorBIC, remittance string }{
		{"", "", ""}, {"COBADEFFXXX", "", "a"}, {"COBADEFFXXX", "BNBGBGSF", strings.Repeat("long ", 100)},
	} {
		document := someTransfers()
		document.Debtor.BIC = c.debtorBIC
		for k := range document.Payments {
			document.Payments[k].Creditor.BIC, document.Payments[k].Remittance = c.creditorBIC, c.remittance
		}
		iso := document
		iso.Version = "10"
		transfers = append(transfers, isoOf(t, written(t, document)), written(t, iso))

		collection := someDebits()
		collection.Creditor.BIC = c.creditorBIC
		for k := range collection.Debits {
			collection.Debits[k].Debtor.BIC, collection.Debits[k].Remittance = c.debtorBIC, c.remittance
		}
		isoCollection := collection
		isoCollection.Version = "10"
		debits = append(debits, isoOf(t, written(t, collection)), written(t, isoCollection))
	}
	wantValid(t, "pain.001.001.10", transfers...)
	wantValid(t, "pain.008.001.09", debits...)
}

// The schema is one that finds something.
func TestSchemasFindWhatTheyForbid(t *testing.T) {
	document := isoOf(t, written(t, someTransfers()))
	broken := bytes.Replace(document, []byte("<ChrgBr>SLEV</ChrgBr>"), []byte("<ChrgBr>NONE</ChrgBr>"), 1)
	if findings, valid := validate(t, "pain.001.001.10", broken); valid || !strings.Contains(findings, "ChrgBr") {
		t.Errorf("charges borne by NONE pass:\n%s", findings)
	}
}

// What anybody can call themselves makes no other document.
func TestHostileNamesFitTheSchemas(t *testing.T) {
	var transfers, debits [][]byte
	for _, hostile := range hostileTexts {
		document := someTransfers()
		document.Debtor.Name, document.Payments[0].Creditor.Name, document.Payments[0].Remittance = hostile, hostile, hostile
		transfers = append(transfers, isoOf(t, written(t, document)))
		collection := someDebits()
		collection.Creditor.Name, collection.Debits[0].Debtor.Name, collection.Debits[0].Remittance = hostile, hostile, hostile
		debits = append(debits, isoOf(t, written(t, collection)))
	}
	wantValid(t, "pain.001.001.10", transfers...)
	wantValid(t, "pain.008.001.09", debits...)
}
