// SPDX-License-Identifier: GPL-3.0-or-later
package main

import (
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
)

var blockID = regexp.MustCompile(`<(?:Latest|Uncommitted)>([^<]*)<`)

// azure answers at /account/container/blob.
func (a *answer) azure() {
	a.set("X-Ms-Request-Id", "e7c3b1a0-101e-0042-7b2c-"+a.id[4:])
	a.set("X-Ms-Version", a.r.Header.Get("X-Ms-Version"))
	a.set("Server", "Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0")
	if id := a.r.Header.Get("X-Ms-Client-Request-Id"); id != "" {
		a.set("X-Ms-Client-Request-Id", id)
	}
	key := a.r.URL.Path
	query := a.r.URL.Query()
	switch {
	case query.Get("restype") == "container" && query.Get("comp") == "list":
		a.azureList(query.Get("prefix"))
	case query.Get("restype") == "container":
		a.store.count("other")
		a.azureStamp()
		status := 200
		if a.r.Method == "PUT" {
			status = 201
		}
		a.say(status, "", "")
	case a.r.Method == "PUT":
		a.azurePut(key, query.Get("comp"), query.Get("blockid"))
	case a.r.Method == "GET" || a.r.Method == "HEAD":
		a.azureRead(key)
	case a.r.Method == "DELETE":
		a.store.count("delete")
		if !a.store.remove(key) {
			a.azureError(404, "BlobNotFound")
			return
		}
		a.set("X-Ms-Delete-Type-Permanent", "true")
		a.say(202, "", "")
	default:
		a.azureError(405, "UnsupportedHttpVerb")
	}
}

func (a *answer) azureStamp() {
	a.set("Etag", `"0x8D`+a.id+`"`)
	a.set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
}

func (a *answer) azurePut(key, comp, block string) {
	a.azureStamp()
	a.set("X-Ms-Request-Server-Encrypted", "true")
	contentMD5 := a.r.Header.Get("Content-Md5")
	o := &object{bytes: a.body, memory: a.body}
	switch comp {
	case "block":
		a.store.count("part")
		a.store.addPart(key, block, a.body)
		a.set("Content-Md5", contentMD5)
		a.say(201, "", "")
		return
	case "blocklist":
		a.store.count("other")
		var blocks []string
		for _, match := range blockID.FindAllSubmatch(a.body, -1) {
			blocks = append(blocks, string(match[1]))
		}
		o = &object{bytes: a.store.joinParts(key, blocks)}
		contentMD5 = a.r.Header.Get("X-Ms-Blob-Content-Md5")
	default:
		a.store.count("put")
	}
	header := metadata(a.r.Header, "X-Ms-Meta-", "Content-Type")
	if contentMD5 != "" {
		header["Content-Md5"] = contentMD5
		a.set("Content-Md5", contentMD5)
	}
	header["Etag"] = `"0x8D` + a.id + `"`
	header["X-Ms-Blob-Type"] = "BlockBlob"
	header["X-Ms-Creation-Time"] = time.Now().UTC().Format(http.TimeFormat)
	header["X-Ms-Lease-State"] = "available"
	header["X-Ms-Lease-Status"] = "unlocked"
	header["X-Ms-Server-Encrypted"] = "true"
	o.header = header
	a.store.put(key, o)
	a.say(201, "", "")
}

func (a *answer) azureRead(key string) {
	wanted := a.r.Header.Get("X-Ms-Range")
	if wanted == "" {
		wanted = a.r.Header.Get("Range")
	}
	a.store.count(readKind(a.r.Method, wanted))
	o := a.store.get(key)
	if o == nil {
		a.azureError(404, "BlobNotFound")
		return
	}
	defer a.store.release(o)
	if start, end, isRange := parseRange(wanted, len(o.bytes)); isRange && start < end {
		// The Content-MD5 of a range is the range's own, and only there where it was asked for.
		ranged := &object{bytes: o.bytes, modified: o.modified, header: map[string]string{}}
		for name, value := range o.header {
			ranged.header[name] = value
		}
		if whole, known := ranged.header["Content-Md5"]; known {
			ranged.header["X-Ms-Blob-Content-Md5"] = whole
			delete(ranged.header, "Content-Md5")
		}
		if a.r.Header.Get("X-Ms-Range-Get-Content-Md5") == "true" {
			sum := md5.Sum(o.bytes[start:end])
			ranged.header["Content-Md5"] = base64.StdEncoding.EncodeToString(sum[:])
		}
		a.give(ranged, wanted, nil)
		return
	}
	a.give(o, wanted, func() { a.azureError(416, "InvalidRange") })
}

func (a *answer) azureList(prefix string) {
	a.store.count("list")
	container := strings.TrimSuffix(a.r.URL.Path, "/") + "/"
	var blobs strings.Builder
	for _, key := range a.store.list(container + prefix) {
		if o := a.store.get(key); o != nil {
			fmt.Fprintf(&blobs, "<Blob><Name>%s</Name><Properties><Last-Modified>%s</Last-Modified><Etag>%s</Etag><Content-Length>%d</Content-Length><BlobType>BlockBlob</BlobType></Properties></Blob>",
				escape(key[len(container):]), o.modified.UTC().Format(http.TimeFormat), escape(o.header["Etag"]), len(o.bytes))
			a.store.release(o)
		}
	}
	a.say(200, "application/xml", xmlHeader+"<EnumerationResults><Blobs>"+blobs.String()+"</Blobs><NextMarker/></EnumerationResults>")
}

func (a *answer) azureError(status int, code string) {
	a.set("X-Ms-Error-Code", code)
	a.say(status, "application/xml", fmt.Sprintf("%s<Error><Code>%s</Code><Message>%s</Message></Error>", xmlHeader, code, code))
}
