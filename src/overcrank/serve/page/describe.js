// The API as openapi.json describes it, to read.

const make = (name, text, kind) => {
  const element = document.createElement(name);
  if (text) element.textContent = text;
  if (kind) element.className = kind;
  return element;
};

const typeOf = (schema) =>
  schema.enum?.join(" | ") ??
  schema.anyOf?.map(typeOf).filter((type) => type !== "null").join(" | ") ??
  schema.format ?? schema.type ?? schema.$ref?.split("/").pop() ?? "";

function fields(rows) {
  const table = make("table");
  for (const [name, type, words, needed] of rows) {
    const row = table.insertRow();
    row.append(make("th", needed ? `${name} *` : name), make("td", type, "quiet"), make("td", words));
  }
  return table;
}

function described(path, method, { description, parameters = [], requestBody }) {
  const section = make("section");
  section.append(make("h2", `${method.toUpperCase()} ${path}`), make("p", description));
  const rows = parameters.map((each) => [each.name, typeOf(each.schema), each.description ?? "", each.required]);
  const form = requestBody?.content["multipart/form-data"].schema;
  for (const [name, schema] of Object.entries(form?.properties ?? {}))
    rows.push([name, typeOf(schema), schema.description ?? "", form.required?.includes(name)]);
  if (rows.length) section.append(fields(rows));
  return section;
}

const { paths } = await (await fetch("/openapi.json")).json();
for (const [path, operations] of Object.entries(paths))
  for (const [method, operation] of Object.entries(operations))
    document.getElementById("api").append(described(path, method, operation));
