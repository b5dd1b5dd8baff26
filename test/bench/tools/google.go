// SPDX-License-Identifier: GPL-3.0-or-later
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"net/url"
	"strconv"
	"strings"
	"time"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// description is what the JSON API calls an object resource.
type description struct {
	Kind               string `json:"kind"`
	Name               string `json:"name"`
	Bucket             string `json:"bucket"`
	Size               string `json:"size"`
	Crc32c             string `json:"crc32c"`
	Md5Hash            string `json:"md5Hash,omitempty"`
	Generation         string `json:"generation"`
	Metageneration     string `json:"metageneration"`
	ContentType        string `json:"contentType,omitempty"`
	ContentDisposition string `json:"contentDisposition,omitempty"`
	StorageClass       string `json:"storageClass"`
	Updated            string `json:"updated"`
	TimeCreated        string `json:"timeCreated"`
}

// google answers the JSON API.
func (a *answer) google() {
	a.set("X-Guploader-Uploadid", "ABgVH8-"+a.id)
	a.set("Server", "UploadServer")
	_, rest, _ := strings.Cut(a.r.URL.EscapedPath(), "/b/")
	bucket, rest, _ := strings.Cut(rest, "/")
	name, _ := url.PathUnescape(strings.TrimPrefix(strings.TrimPrefix(rest, "o"), "/"))
	key := "/" + bucket + "/" + name
	query := a.r.URL.Query()
	switch {
	case strings.HasPrefix(a.r.URL.Path, "/upload/"):
		a.googleUpload(bucket, query)
	case rest == "iam/testPermissions":
		a.store.count("other")
		a.googleSay(200, map[string]any{"permissions": query["permissions"]})
	case rest == "":
		a.store.count("other")
		a.googleSay(200, map[string]any{"kind": "storage#bucket", "name": bucket, "id": bucket})
	case name == "" && a.r.Method == "GET":
		a.googleList(bucket, query.Get("prefix"))
	case a.r.Method == "DELETE":
		a.store.count("delete")
		if !a.store.remove(key) {
			a.googleMissing(bucket, name)
			return
		}
		a.w.WriteHeader(204)
	case a.r.Method == "GET":
		a.googleRead(bucket, name, query.Get("alt") == "media")
	default:
		a.googleError(405, "Method Not Allowed")
	}
}

func (a *answer) googleUpload(bucket string, query url.Values) {
	session := query.Get("upload_id")
	switch {
	case session != "":
		a.googleResume(session)
	case query.Get("uploadType") == "multipart":
		a.store.count("put")
		told, content, ok := splitRelated(a.body)
		if !ok {
			a.googleError(400, "no multipart/related")
			return
		}
		a.googleStore(bucket, told, content)
	case query.Get("uploadType") == "media":
		a.store.count("put")
		a.googleStore(bucket, description{Name: query.Get("name")}, a.body)
	default:
		a.store.count("other")
		var told description
		_ = json.Unmarshal(a.body, &told)
		if told.Name == "" {
			told.Name = query.Get("name")
		}
		told.Bucket = bucket
		begun, _ := json.Marshal(told)
		a.store.put("session "+a.id, &object{bytes: begun})
		a.set("Location", fmt.Sprintf("http://%s/upload/storage/v1/b/%s/o?uploadType=resumable&upload_id=%s", a.r.Host, bucket, a.id))
		a.say(200, "", "")
	}
}

// googleResume takes a piece of a large content. The total may be told with the last one.
func (a *answer) googleResume(session string) {
	begun := a.store.get("session " + session)
	if begun == nil {
		a.googleError(404, "no such session")
		return
	}
	defer a.store.release(begun)
	if a.r.Method == "DELETE" {
		a.store.count("other")
		a.store.remove("session " + session)
		a.say(499, "", "")
		return
	}
	a.store.count("part")
	span, total, _ := strings.Cut(strings.TrimPrefix(a.r.Header.Get("Content-Range"), "bytes "), "/")
	first, _, isPiece := strings.Cut(span, "-")
	received := a.store.joinParts(session, []string{"all"})
	if start, err := strconv.Atoi(first); isPiece && err == nil && start == 0 {
		received = a.body
	} else if isPiece && err == nil && start <= len(received) {
		received = append(received[:start:start], a.body...)
	}
	if size, err := strconv.Atoi(total); total != "" && (err != nil || len(received) < size) {
		a.store.addPart(session, "all", received)
		if len(received) > 0 {
			a.set("Range", fmt.Sprintf("bytes=0-%d", len(received)-1))
		}
		a.say(308, "", "")
		return
	}
	if total == "" {
		received = a.body
	}
	var told description
	_ = json.Unmarshal(begun.bytes, &told)
	a.store.remove("session " + session)
	a.googleStore(told.Bucket, told, received)
}

func (a *answer) googleStore(bucket string, told description, content []byte) {
	if told.Crc32c == "" {
		sum := make([]byte, 4)
		binary.BigEndian.PutUint32(sum, crc32.Checksum(content, castagnoli))
		told.Crc32c = base64.StdEncoding.EncodeToString(sum)
	}
	told.Kind = "storage#object"
	told.Bucket = bucket
	told.Size = strconv.Itoa(len(content))
	told.Generation = strconv.FormatInt(time.Now().UnixMicro(), 10)
	told.Metageneration = "1"
	told.Updated = time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
	told.TimeCreated = told.Updated
	if told.StorageClass == "" {
		told.StorageClass = "STANDARD"
	}
	text, _ := json.Marshal(told)
	hash := "crc32c=" + told.Crc32c
	if told.Md5Hash != "" {
		hash += ",md5=" + told.Md5Hash
	}
	header := map[string]string{
		"X-Goog-Hash":                    hash,
		"X-Goog-Generation":              told.Generation,
		"X-Goog-Metageneration":          "1",
		"X-Goog-Stored-Content-Encoding": "identity",
		"X-Goog-Stored-Content-Length":   told.Size,
		"X-Goog-Storage-Class":           told.StorageClass,
		"Etag":                           `"` + a.id + `"`,
		"Content-Type":                   "application/octet-stream",
	}
	if told.ContentDisposition != "" {
		header["Content-Disposition"] = told.ContentDisposition
	}
	a.store.put("/"+bucket+"/"+told.Name, &object{bytes: content, memory: a.body, header: header, resource: text})
	a.say(200, "application/json; charset=UTF-8", string(text))
}

func (a *answer) googleRead(bucket, name string, isMedia bool) {
	kind := "head"
	if isMedia {
		kind = readKind("GET", a.r.Header.Get("Range"))
	}
	a.store.count(kind)
	o := a.store.get("/" + bucket + "/" + name)
	if o == nil {
		a.googleMissing(bucket, name)
		return
	}
	defer a.store.release(o)
	if !isMedia {
		a.say(200, "application/json; charset=UTF-8", string(o.resource))
		return
	}
	a.give(o, a.r.Header.Get("Range"), func() { a.googleError(416, "Request range not satisfiable") })
}

func (a *answer) googleList(bucket, prefix string) {
	a.store.count("list")
	items := []json.RawMessage{}
	for _, key := range a.store.list("/" + bucket + "/" + prefix) {
		if o := a.store.get(key); o != nil {
			items = append(items, json.RawMessage(o.resource))
			a.store.release(o)
		}
	}
	a.googleSay(200, map[string]any{"kind": "storage#objects", "items": items})
}

func (a *answer) googleSay(status int, value any) {
	text, _ := json.Marshal(value)
	a.say(status, "application/json; charset=UTF-8", string(text))
}

func (a *answer) googleMissing(bucket, name string) {
	a.googleError(404, "No such object: "+bucket+"/"+name)
}

func (a *answer) googleError(status int, message string) {
	reason := []map[string]string{{"message": message, "domain": "global", "reason": "bench"}}
	a.googleSay(status, map[string]any{"error": map[string]any{"code": status, "message": message, "errors": reason}})
}

// splitRelated finds the resource and the content in a body of multipart/related, which stays where it is.
func splitRelated(body []byte) (told description, content []byte, ok bool) {
	boundary, _, _ := bytes.Cut(body, []byte("\r\n"))
	parts := body
	_, parts, ok = bytes.Cut(parts, []byte("\r\n\r\n"))
	if !ok {
		return told, nil, false
	}
	text, parts, _ := bytes.Cut(parts, append([]byte("\r\n"), boundary...))
	if json.Unmarshal(text, &told) != nil {
		return told, nil, false
	}
	_, content, _ = bytes.Cut(parts, []byte("\r\n\r\n"))
	end := bytes.LastIndex(content, append([]byte("\r\n"), boundary...))
	if end < 0 {
		return told, nil, false
	}
	return told, content[:end], true
}
